"""The page of all losses: reports/losses.html."""
