"""What `import losslab` offers beside losses, nets and metrics: runs as objects, and verdicts that notebooks show."""
