"""The folder of `losslab datasets doubt`: a page to look at, and tables to work with."""
