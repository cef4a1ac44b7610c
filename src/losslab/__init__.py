"""losslab: which loss and which architecture segment my data best, and whether the difference is real."""
