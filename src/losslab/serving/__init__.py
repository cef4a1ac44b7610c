"""Models in MLflow's registry, with the code that serves them."""
