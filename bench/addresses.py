"""Where everybody is, the same for all contenders."""

CLIENT, SERVER = "10.65.0.2", "10.65.1.2"
FABRIC = ("192.0.2.1", "192.0.2.2")
"""Of host1 and host2 on the link between them."""

PORT = 8080
