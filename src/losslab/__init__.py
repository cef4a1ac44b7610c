"""Which loss and which architecture segment my data best, and is the difference real? losslab answers with experiments."""
