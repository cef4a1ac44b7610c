"""From finished studies of all losses on many kinds of data to rows in results/odyssey/ and a page of the documentation."""
