"""What several pages share: charts, heatmaps, pictures, styles and scripts."""
