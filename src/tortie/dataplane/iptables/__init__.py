"""The iptables dataplane: a filter as chains and IP sets, and the driver that puts it there."""
