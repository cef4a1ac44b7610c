"""The report of one run: reports/report.html and its figures."""
