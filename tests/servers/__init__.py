"""losslab on real servers: PostgreSQL, S3, an MLflow server and a Ray cluster of two nodes, all on this machine."""
