"""`tortie get` and `tortie delete`: resources in the store, by kind and name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tortie.cli import statuses
from tortie.cli.columns import Row, columns, reference
from tortie.cli.files import files_option, load_all
from tortie.cli.output import Data, Form, form_option, say, show, slow
from tortie.cli.where import opened_store
from tortie.errors import InvalidInput, Problem, UsageError
from tortie.model import kinds
from tortie.model import resources as r
from tortie.model.words import did_you_mean, nearest, quote

if TYPE_CHECKING:
    from tortie.model.selector import Selector
    from tortie.store.base import Store

NAMESPACE_LABEL = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"
SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount"
"""Labels that policies see on every workload endpoint (the last where it has one)."""


@click.command()
@click.argument("kind")
@click.argument("names", nargs=-1)
@click.option("-n", "--namespace", metavar="NAME", help="Only of this namespace.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces: the default.")
@click.option(
    "-l", "--selector", metavar="EXPR",
    help="Only those whose labels match, such as \"role == 'web' && has(zone)\".",
)  # fmt: skip
@form_option
def get(
    kind: str,
    names: Sequence[str],
    namespace: str | None,
    all_namespaces: bool,
    selector: str | None,
    form: Form,
) -> None:
    """Show the resources of a KIND, or those of these NAMES; of all namespaces unless -n is given.

    KIND is a name, plural or short name, in upper or lower case. A WorkloadEndpoint is found by the
    name of its workload too.

    \b
    tortie get wep -n shop -o wide
    tortie get networkpolicies --selector "team == 'payments'"
    tortie get node a1 -o yaml
    """
    row = find_kind(kind)
    if namespace and all_namespaces:
        raise UsageError("-n and -A contradict each other", "give one of them")
    _check_namespace(row, namespace)
    wanted = _parsed(selector)
    with opened_store() as store, slow("reading the store"):
        every = _read(store, row)
        found = [each for each in every if _in_namespace(each, namespace)]
        missing = _missing(row, names, found, every, namespace)
        if names:
            found = [each for each in found if _is_called(each, names)]
        if wanted:
            found = [each for each in found if wanted.matches(labels_of(each))]
        rows = _rows(store, found, form)
    single = len(names) == 1 and len(rows) == 1
    if not names or rows:
        show(
            form,
            rows,
            columns(row),
            name=lambda each: each.name,
            data=lambda: _data(rows, single, form),
            none=f"no {row.plural} found",
        )
    if missing:
        raise InvalidInput(missing)


@click.command()
@click.argument("kind", required=False)
@click.argument("names", nargs=-1)
@click.option("-n", "--namespace", metavar="NAME", help="Its namespace; `default` if not given.")
@files_option
@click.option("--ignore-not-found", is_flag=True, help="What is not there is no error.")
def delete(
    kind: str | None,
    names: Sequence[str],
    namespace: str | None,
    files: Sequence[Path],
    ignore_not_found: bool,
) -> None:
    """Remove the resources of a KIND with these NAMES, or all that are in files.

    What others need goes last, and is refused while they are there.

    \b
    tortie delete networkpolicy db-only-api -n shop
    tortie delete -f policies/
    """
    if bool(files) == bool(kind):
        raise UsageError("say what to delete", "give KIND and NAMES, or -f FILE")
    if files:
        if namespace:
            raise UsageError("files say their namespaces themselves", "leave -n out")
        wanted = [each.resource for each in load_all(files)]
        with opened_store() as store, slow("deleting"):
            _delete(store, wanted, [], ignore_not_found)
        return
    row = find_kind(kind or "")
    if not names:
        raise UsageError("no name is given", f"say which {row.plural}")
    _check_namespace(row, namespace)
    inside = (namespace or "default") if row.namespaced else None
    with opened_store() as store, slow("deleting"):
        every = _read(store, row)
        there = [each for each in every if _in_namespace(each, inside)]
        wanted = [each for each in there if _is_called(each, names)]
        _delete(store, wanted, _missing(row, names, there, every, inside), ignore_not_found)


def _delete(
    store: Store, wanted: Sequence[r.Resource], missing: list[Problem], ignore_missing: bool
) -> None:
    """Remove them, those that need others first; go on after a refusal and tell all at the end."""
    from tortie.ipam.guard import delete_pool
    from tortie.store import resources

    position = {kind.name: index for index, kind in enumerate(kinds.KINDS)}
    problems = [] if ignore_missing else missing
    for each in sorted(wanted, key=lambda each: -position[kinds.kind_of(each).name]):
        try:
            # A pool goes only when nobody has an address of it, and with its blocks.
            gone = (
                delete_pool(store, each.metadata.name)
                if isinstance(each, r.IPPool)
                else resources.delete(store, each)
            )
            if gone:
                say(f"deleted {reference(each)}")
            elif not ignore_missing:
                problems.append(Problem(f"there is no {reference(each)}"))
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)


# --- which ones -----------------------------------------------------------------------------------


def find_kind(text: str) -> kinds.Kind:
    """The kind of this name, plural or short name, in any case. Raises UsageError."""
    spelled = {
        name.lower(): kind for kind in kinds.KINDS for name in (kind.name, kind.plural, *kind.short)
    }
    found = spelled.get(text.lower())
    if found is None:
        near = nearest(text, spelled)
        known = [kind.plural for kind in kinds.KINDS if not kind.internal]
        cure = f"did you mean {near}?" if near else f"known: {', '.join(known)}"
        raise UsageError(f"{quote(text)} is no known kind", cure)
    return found


def _check_namespace(kind: kinds.Kind, namespace: str | None) -> None:
    if namespace is not None and not kind.namespaced:
        raise UsageError(f"{kind.plural} are in no namespace", "leave -n out")


def _parsed(selector: str | None) -> Selector | None:
    from tortie.model.selector import SelectorError, parse

    try:
        return parse(selector) if selector is not None else None
    except SelectorError as error:
        raise UsageError(f"the selector is not valid: {error.message}", error.cure) from error


def _read(store: Store, kind: kinds.Kind) -> list[r.Resource]:
    from tortie.store import resources

    found = [each.resource for each in resources.read(store, kind)]
    return sorted(found, key=lambda each: (each.metadata.namespace or "", each.metadata.name))


def _in_namespace(resource: r.Resource, namespace: str | None) -> bool:
    return namespace is None or (resource.metadata.namespace or "default") == namespace


def _names(resource: r.Resource) -> set[str]:
    names = {resource.metadata.name}
    if isinstance(resource, r.WorkloadEndpoint) and resource.spec.workload:
        names.add(resource.spec.workload)
    return names


def _is_called(resource: r.Resource, names: Collection[str]) -> bool:
    return not _names(resource).isdisjoint(names)


def labels_of(resource: r.Resource) -> dict[str, str]:
    """The labels that a selector sees; a workload endpoint's as policies see them."""
    labels = dict(resource.metadata.labels)
    if isinstance(resource, r.WorkloadEndpoint):
        labels[NAMESPACE_LABEL] = resource.metadata.namespace or "default"
        labels[ORCHESTRATOR_LABEL] = resource.spec.orchestrator
        if resource.spec.service_account_name:
            labels[SERVICE_ACCOUNT_LABEL] = resource.spec.service_account_name
    return labels


def _missing(
    kind: kinds.Kind,
    names: Sequence[str],
    found: Sequence[r.Resource],
    every: Sequence[r.Resource],
    namespace: str | None,
) -> list[Problem]:
    """A problem for each name that nothing is called, with where it is or what is like it."""
    known = {name for each in found for name in _names(each)}
    problems = []
    for name in dict.fromkeys(names):
        if name in known:
            continue
        inside = f" in namespace {quote(namespace)}" if namespace else ""
        spaces = sorted({str(each.metadata.namespace) for each in every if name in _names(each)})
        if spaces:
            cure = f"it is in {', '.join(spaces)}: -n {spaces[0]}"
        else:
            cure = did_you_mean(name, sorted(known)) if nearest(name, known) else ""
        problems.append(Problem(f"there is no {kind.name} {quote(name)}{inside}", cure))
    return problems


# --- what is shown --------------------------------------------------------------------------------


def _rows(store: Store, found: Sequence[r.Resource], form: Form) -> list[Row]:
    """The resources with what agents say, where a table shows that."""
    said: dict[str, statuses.Said] = {}
    if form in ("table", "wide"):
        endpoints = [each for each in found if isinstance(each, r.WorkloadEndpoint)]
        if endpoints:
            said = statuses.of_endpoints(store, endpoints)
        nodes = {each.metadata.name: each for each in found if isinstance(each, r.Node)}
        for name, state in statuses.of_nodes(store, nodes).items():
            said[kinds.key(nodes[name])] = state
    return [Row(each, said.get(kinds.key(each), statuses.Said())) for each in found]


def _data(rows: Sequence[Row], single: bool, form: Form) -> Data:
    """One object if one was asked for; else a List, or a YAML document for each."""
    from tortie.model.manifest import plain

    items = [plain(row.resource) for row in rows]
    if single:
        return items[0]
    return items if form == "yaml" else {"apiVersion": "v1", "kind": "List", "items": items}
