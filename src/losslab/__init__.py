"""losslab: which loss and which architecture segment my data best, and is the difference real?"""
