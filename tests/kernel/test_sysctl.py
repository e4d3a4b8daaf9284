"""One contract for sysctls and their fake; and the names that are refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from namespaces import inside_fresh, ip

from tortie.errors import KernelError
from tortie.kernel.sysctl import FakeSysctl, Sysctl, SysctlPort

RP_FILTER = "net/ipv4/conf/tor.1/rp_filter"
FORWARDING = "net/ipv6/conf/tor.1/forwarding"


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.kernel)])
def sysctl(request: pytest.FixtureRequest) -> Iterator[SysctlPort]:
    if request.param == "fake":
        yield FakeSysctl({RP_FILTER: "0", FORWARDING: "0"})
        return
    with inside_fresh():
        ip("link add tor.1 type veth peer name far")
        yield Sysctl()


def test_what_differs_is_set_and_told(sysctl: SysctlPort) -> None:
    wanted = {RP_FILTER: "2", FORWARDING: "0"}
    assert sysctl.ensure(wanted) == [RP_FILTER]
    assert sysctl.read(RP_FILTER) == "2"
    assert sysctl.ensure(wanted) == []


def test_a_setting_that_is_not_there_reads_as_none(sysctl: SysctlPort) -> None:
    assert sysctl.read("net/ipv4/conf/gone/rp_filter") is None


def test_a_setting_that_is_not_there_cannot_be_set(sysctl: SysctlPort) -> None:
    with pytest.raises(KernelError, match="cannot set sysctl net/ipv4/conf/gone/rp_filter to 1"):
        sysctl.ensure({"net/ipv4/conf/gone/rp_filter": "1"})


@pytest.mark.parametrize(
    "name",
    [
        "net/../kernel/hostname",
        "net/ipv4/./ip_forward",
        "kernel/hostname",
        "/proc/sys/net/ipv4/ip_forward",
        "net/ipv4/conf/a b/rp_filter",
        "net/ipv4/ip_forward\n",
        "net/ipv4/ip_forward/..",
        "net",
        "",
    ],
)
def test_only_network_settings_have_names(sysctl: SysctlPort, name: str) -> None:
    with pytest.raises(KernelError, match="is no name of a network sysctl"):
        sysctl.ensure({name: "1"})


@pytest.mark.parametrize("value", ["", "1\n2", "1;2", "\0"])
def test_only_plain_values_are_written(sysctl: SysctlPort, value: str) -> None:
    with pytest.raises(KernelError, match="is no value for sysctl"):
        sysctl.write(RP_FILTER, value)
