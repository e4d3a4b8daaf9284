"""The selector language: grammar, meaning, canonical text, and the term that the index uses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.model import selector as s
from tortie.model.selector import SelectorError, Term, parse

WEB = {"role": "web", "tier": "front-end", "in": "x"}

MEANING = [
    # selector, matches WEB, matches an endpoint with no labels
    ("", True, True),
    (" \t", True, True),
    ("all()", True, True),
    ("all( )", True, True),
    ("global()", True, True),
    ("role == 'web'", True, False),
    ('role=="api"', False, False),
    ("role != 'web'", False, True),
    ("has(role)", True, False),
    ("has( role )", True, False),
    ("!has(role)", False, True),
    ("! ! has(role)", True, False),
    ("role in {'web', \"api\"}", True, False),
    ("role in {}", False, False),
    ("role not in {}", True, True),
    ("role in {'web',}", True, False),
    ("role not in {'web'}", False, True),
    ("role notin{'api'}", True, True),
    ("tier contains 'end'", True, False),
    ("tier contains ''", True, False),
    ("tier starts with 'front'", True, False),
    ("tier startswith'end'", False, False),
    ("tier ends\twith 'end'", True, False),
    ("tier endswith 'front'", False, False),
    ("in in {'x'}", True, False),
    ("in == 'x'", True, False),
    ("has(in)", True, False),
    ("!role == 'web'", False, True),
    ("role == 'x' || role == 'web' && has(tier)", True, False),
    ("(role == 'x' || role == 'web') && has(absent)", False, False),
    ("role == 'x' || has(tier) || has(absent)", True, False),
    ("has(role) && has(tier) && !has(absent)", True, False),
]


@pytest.mark.parametrize(("text", "web", "bare"), MEANING)
def test_a_selector_means(text: str, web: bool, bare: bool) -> None:
    assert parse(text).matches(WEB) is web
    assert parse(text).matches({}) is bare


CANONICAL = [
    ("", "all()"),
    ("a=='b'", 'a == "b"'),
    ("""a == 'say "x"'""", """a == 'say "x"'"""),
    ("a in{'y','x','y',}", 'a in {"x", "y"}'),
    ("a  not  in  { }", "a not in {}"),
    ("a startswith 'b'", 'a starts with "b"'),
    ("!!!has(a)", "!has(a)"),
    ("((has(a)))", "has(a)"),
    ("has(a)&&has(b)||all()", "((has(a) && has(b)) || all())"),
    ("has(a) && (has(b) || global())", "(has(a) && (has(b) || global()))"),
]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_every_spelling_has_one_canonical_text(text: str, canonical: str) -> None:
    assert parse(text).canonical == canonical
    assert parse(canonical) == parse(text)
    assert parse(canonical).uid == parse(text).uid


def test_the_uid_is_calicos() -> None:
    # printf 's:all()' | sha224sum | cut -d' ' -f1 | xxd -r -p | base64 | tr '+/' '-_'
    assert parse(" ").uid == "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"
    assert parse("has(a)").uid != parse("has(b)").uid


REFUSED = [
    # selector, position of the fault, part of the message and cure
    ("role", 4, "has(role)"),
    ("role = 'web'", 5, 'write "=="'),
    ("has(a) & has(b)", 7, 'write "&&"'),
    ("has(a) | has(b)", 7, 'write "||"'),
    ("role == web", 8, "in quotes"),
    ("role == 'web", 8, "no end"),
    ("role inn {'web'}", 5, 'did you mean "in"?'),
    ("role in 'web'", 8, "a set"),
    ("role in {'a' 'b'}", 13, '"}"'),
    ("role in {,}", 9, "a string"),
    ("role in {a}", 9, "a string"),
    ("has (role)", 4, "without a blank"),
    ("has(role", 8, '")"'),
    ("has('role')", 4, "no quotes"),
    ("all(x)", 4, '")"'),
    ("has(a) has(b)", 7, '"&&"'),
    ("has(a) &&", 9, "too early"),
    ("(has(a)", 7, "too early"),
    ("has(a))", 6, '"&&"'),
    ("has(a)\n&& has(b)", 6, "one line"),
    ("'a' == 'b'", 0, "comparison"),
    ("a == 'x\ny'", 7, "control character"),
    ("a == '\ud800'", 6, "control character"),
    ("; drop", 0, "unexpected"),
    ("a" * 513 + " == 'x'", 0, "512"),
    ("(" * 65 + "has(a)" + ")" * 65, 64, "64 brackets"),
    ("(" * 100_000, 64, "64 brackets"),
    ("!" * 100_000, 100_000, "too early"),
]


@pytest.mark.parametrize(("text", "position", "says"), REFUSED)
def test_what_is_no_selector_is_refused_with_place_and_cure(
    text: str, position: int, says: str
) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert caught.value.position == position
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


REQUIRED = [
    ("", None),
    ("has(a)", Term("a", None)),
    ("!has(a)", None),
    ("a == 'x'", Term("a", ("x",))),
    ("a != 'x'", None),
    ("!a != 'x'", Term("a", ("x",))),
    ("a contains 'x'", Term("a", None)),
    ("a in {'y', 'x'}", Term("a", ("x", "y"))),
    ("a in {}", Term("a", ())),
    ("a not in {'x'}", None),
    ("has(a) && b == 'x' && c in {'1', '2'}", Term("b", ("x",))),
    ("a != 'x' && has(b)", Term("b", None)),
    ("a == 'x' || a in {'y'}", Term("a", ("x", "y"))),
    ("a == 'x' || has(a)", Term("a", None)),
    ("a == 'x' || b == 'x'", None),
    ("a == 'x' || all()", None),
]


@pytest.mark.parametrize(("text", "term"), REQUIRED)
def test_the_index_is_given_a_necessary_term(text: str, term: Term | None) -> None:
    assert parse(text).required == term


def test_global_is_noticed_wherever_it_stands() -> None:
    assert parse("has(a) && !(has(b) || global())").has_global
    assert not parse("has(global)").has_global


def test_selectors_are_joined_and_moved_under_a_prefix() -> None:
    joined = s.conjunction(parse("has(a) || has(b)"), parse(""), parse("c == 'd'"))
    assert joined.canonical == '((has(a) || has(b)) && c == "d")'
    assert s.conjunction() == parse("all()")
    assert s.conjunction(parse("has(a)")) == parse("has(a)")
    moved = s.with_prefix(parse("has(a) && !b in {'c'} || d != 'e'"), "pcns.")
    assert moved == parse("has(pcns.a) && !pcns.b in {'c'} || pcns.d != 'e'")


# --- generated ---------------------------------------------------------------------------------

LABELS = st.sampled_from(["a", "b", "in", "has", "projectcalico.org/namespace"])
VALUES = st.sampled_from(["", "x", "xy", "y", 'q"q', "it's"])
OPERATORS = st.sampled_from(["==", "!=", "contains", "starts with", "ends with"])


def _sets() -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(VALUES, max_size=3).map(lambda values: tuple(sorted(values)))


LEAVES = st.one_of(
    st.just(s.All()),
    st.builds(s.Has, LABELS),
    st.builds(s.Compare, LABELS, OPERATORS, VALUES),
    st.builds(s.Member, LABELS, st.sampled_from(["in", "not in"]), _sets()),
)


def _grow(inner: st.SearchStrategy[s.Expression]) -> st.SearchStrategy[s.Expression]:
    many = st.lists(inner, min_size=2, max_size=3).map(tuple)
    plain = inner.filter(lambda node: not isinstance(node, s.Not))
    return st.one_of(st.builds(s.Not, plain), st.builds(s.And, many), st.builds(s.Or, many))


TREES = st.recursive(LEAVES, _grow, max_leaves=8)
WORKLOADS = st.dictionaries(LABELS, VALUES, max_size=4)


def naive(node: s.Expression, labels: dict[str, str]) -> bool:
    """The meaning of a tree, read aloud from the language's description."""
    if isinstance(node, s.Has):
        return node.label in labels
    if isinstance(node, s.Not):
        return not naive(node.operand, labels)
    if isinstance(node, s.And):
        return all(naive(operand, labels) for operand in node.operands)
    if isinstance(node, s.Or):
        return any(naive(operand, labels) for operand in node.operands)
    if isinstance(node, s.Compare | s.Member):
        if node.label not in labels:
            return node.operator in ("!=", "not in")
        value = labels[node.label]
        if isinstance(node, s.Member):
            return (value in node.values) == (node.operator == "in")
        return {
            "==": value == node.value,
            "!=": value != node.value,
            "contains": node.value in value,
            "starts with": value.startswith(node.value),
            "ends with": value.endswith(node.value),
        }[node.operator]
    return True


@settings(max_examples=300, deadline=None)
@given(TREES, WORKLOADS)
def test_the_compiled_form_agrees_with_the_plain_reading(
    tree: s.Expression, labels: dict[str, str]
) -> None:
    parsed = parse(s.build(tree).canonical)
    assert parsed.root == tree
    assert parsed.matches(labels) is naive(tree, labels)
    term = parsed.required
    if term and parsed.matches(labels):
        assert term.label in labels
        assert term.values is None or labels[term.label] in term.values


PIECES = st.sampled_from(
    ["has(", "all(", ")", "(", "{", "}", ",", "!", "==", "!=", "=", "&&", "||", "&", " ", "\t",
     "in", "not in", "contains", "starts with", "a", "b/c.d", "'", '"', "'x'", '"y"', "\n", ";",
     "$(x)", "ü", "\ud800", "\x00"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=14).map("".join)))
def test_any_text_is_a_selector_or_a_selector_error(text: str) -> None:
    try:
        parsed = parse(text)
    except SelectorError as error:
        assert 0 <= error.position <= len(text)
        return
    assert parse(parsed.canonical).canonical == parsed.canonical
    assert len(parsed.uid) == 40
