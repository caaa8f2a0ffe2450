"""What tests share: scripted peers, servers on loopback, the kinds of clients."""
