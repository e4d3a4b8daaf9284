"""The selector language in tables: each operator, missing labels, quoting, precedence, bad input.

The rows follow Calico v3's grammar and meaning, oddities included.
"""

import pytest

from tortie.model.selector import SelectorError, parse

# --- operators ---------------------------------------------------------------------------------

WEB, WEBS, COBWEB, EMPTY, OTHER = ({"role": value} for value in ("web", "webs", "cobweb", "", "db"))
NONE: dict[str, str] = {"tier": "web"}
LABELS = (WEB, WEBS, COBWEB, EMPTY, OTHER, NONE)
OPERATORS = [
    # selector; does it match role: web, webs, cobweb, (empty), db, and no role at all
    ("role == 'web'", (1, 0, 0, 0, 0, 0)),
    ("role != 'web'", (0, 1, 1, 1, 1, 1)),
    ("role == ''", (0, 0, 0, 1, 0, 0)),
    ("role != ''", (1, 1, 1, 0, 1, 1)),
    ("role contains 'web'", (1, 1, 1, 0, 0, 0)),
    ("role contains ''", (1, 1, 1, 1, 1, 0)),
    ("role contains 'WEB'", (0, 0, 0, 0, 0, 0)),
    ("role starts with 'web'", (1, 1, 0, 0, 0, 0)),
    ("role starts with ''", (1, 1, 1, 1, 1, 0)),
    ("role ends with 'web'", (1, 0, 1, 0, 0, 0)),
    ("role ends with ''", (1, 1, 1, 1, 1, 0)),
    ("role in {'web', 'db'}", (1, 0, 0, 0, 1, 0)),
    ("role in {''}", (0, 0, 0, 1, 0, 0)),
    ("role in {}", (0, 0, 0, 0, 0, 0)),
    ("role not in {'web', 'db'}", (0, 1, 1, 1, 0, 1)),
    ("role not in {''}", (1, 1, 1, 0, 1, 1)),
    ("role not in {}", (1, 1, 1, 1, 1, 1)),
    ("has(role)", (1, 1, 1, 1, 1, 0)),
    ("!has(role)", (0, 0, 0, 0, 0, 1)),
    ("!role == 'web'", (0, 1, 1, 1, 1, 1)),
    ("!role != 'web'", (1, 0, 0, 0, 0, 0)),
    ("!role contains 'web'", (0, 0, 0, 1, 1, 1)),
    ("!role starts with 'web'", (0, 0, 1, 1, 1, 1)),
    ("!role ends with 'web'", (0, 1, 0, 1, 1, 1)),
    ("!role in {'web'}", (0, 1, 1, 1, 1, 1)),
    ("!role not in {'web'}", (1, 0, 0, 0, 0, 0)),
    ("has(role) && role != 'web'", (0, 1, 1, 1, 1, 0)),
    ("has(role) && role not in {'web', 'db'}", (0, 1, 1, 1, 0, 0)),
    ("Role == 'web'", (0, 0, 0, 0, 0, 0)),
    ("role == 'Web'", (0, 0, 0, 0, 0, 0)),
    ("", (1, 1, 1, 1, 1, 1)),
    ("all()", (1, 1, 1, 1, 1, 1)),
    ("!all()", (0, 0, 0, 0, 0, 0)),
    ("global()", (1, 1, 1, 1, 1, 1)),
]


@pytest.mark.parametrize(("text", "matches"), OPERATORS)
def test_what_an_operator_means(text: str, matches: tuple[int, ...]) -> None:
    assert tuple(int(parse(text).matches(labels)) for labels in LABELS) == matches


# --- precedence --------------------------------------------------------------------------------

A, B, C = "has(a)", "has(b)", "has(c)"
PRECEDENCE = [
    # written, the same with all brackets
    (f"{A} || {B} && {C}", f"({A} || ({B} && {C}))"),
    (f"{A} && {B} || {C}", f"(({A} && {B}) || {C})"),
    (f"({A} || {B}) && {C}", f"(({A} || {B}) && {C})"),
    (f"{A} && ({B} || {C})", f"({A} && ({B} || {C}))"),
    (f"!{A} && {B}", f"((!{A}) && {B})"),
    (f"!{A} || {B}", f"((!{A}) || {B})"),
    (f"!({A} && {B})", f"!({A} && {B})"),
    (f"!({A} || {B}) && {C}", f"((!({A} || {B})) && {C})"),
    (f"{A} && !{B} && {C}", f"({A} && (!{B}) && {C})"),
    (f"{A} || {B} && {C} || {A}", f"({A} || ({B} && {C}) || {A})"),
    (f"{A} && {B} || {B} && {C}", f"(({A} && {B}) || ({B} && {C}))"),
    (f"!!{A}", A),
    (f"! !  !{A}", f"!{A}"),
    (f"!(!{A})", A),
    (f"!(!({A} && {B}))", f"({A} && {B})"),
    (f"((({A})))", A),
    ("!a == 'x' && b == 'x'", "((!(a == 'x')) && b == 'x')"),
    ("!a in {'x'} || b == 'x'", "((!(a in {'x'})) || b == 'x')"),
]
SUBSETS = [
    dict.fromkeys(present, "x")
    for present in ("", "a", "b", "c", "ab", "ac", "bc", "abc")
]  # fmt: skip


@pytest.mark.parametrize(("text", "bracketed"), PRECEDENCE)
def test_what_binds_tighter(text: str, bracketed: str) -> None:
    for labels in SUBSETS:
        assert parse(text).matches(labels) == parse(bracketed).matches(labels), labels


# --- spelling ----------------------------------------------------------------------------------

SAME = [
    # one spelling, another
    ("a=='x'", "a == 'x'"),
    ('a == "x"', "a == 'x'"),
    ("a  ==\t'x'", "a == 'x'"),
    (" \t a == 'x' \t", "a == 'x'"),
    ("a!='x'", "a != 'x'"),
    ("a in{'x'}", "a in {'x'}"),
    ("a in { 'x' , 'y' , }", "a in {'y', 'x'}"),
    ("a in {'x','x'}", "a in {'x'}"),
    ("a notin {'x'}", "a not in {'x'}"),
    ("a not\t in {'x'}", "a not in {'x'}"),
    ("a startswith 'x'", "a starts with 'x'"),
    ("a starts \twith 'x'", "a starts with 'x'"),
    ("a endswith'x'", "a ends with 'x'"),
    ("a contains'x'", "a contains 'x'"),
    ("has( a\t)", "has(a)"),
    ("all(\t)", "all()"),
    ("global( )", "global()"),
    ("has(a)&&has(b)", "has(a) && has(b)"),
    ("has(a)||!has(b)", "has(a) || ! has(b)"),
    ("( has(a) )", "has(a)"),
    ("\t", "all()"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_spellings_are_one_selector(one: str, other: str) -> None:
    assert parse(one) == parse(other)
    assert parse(one).uid == parse(other).uid


QUOTED = [
    # the text after `a == `, the value that it means
    ("""'it"s'""", 'it"s'),
    ('''"it's"''', "it's"),
    ("'&& || ! () {} , =='", "&& || ! () {} , =="),
    ("'has(b)'", "has(b)"),
    (r"'a\'", "a\\"),
    (r'"\n"', "\\n"),
    ("'  x  '", "  x  "),
    ("'é ü 猫'", "é ü 猫"),
    ("'$(reboot); #'", "$(reboot); #"),
]


@pytest.mark.parametrize(("text", "value"), QUOTED)
def test_what_stands_in_quotes_is_meant_as_it_stands(text: str, value: str) -> None:
    found = parse(f"a == {text}")
    assert found.matches({"a": value})
    assert not found.matches({"a": value + "x"})
    assert parse(found.canonical) == found


# Words mean something only in their place, so labels may be called like them.
WORDS = [
    "in", "not", "has", "all", "global", "contains", "starts", "ends", "with", "notin",
    "startswith",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_label_may_be_called_as_an_operator(word: str) -> None:
    for text in (f"{word} == 'x'", f"{word} in {{'x'}}", f"has({word})", f"{word} contains 'x'"):
        assert parse(text).matches({word: "x"})
        assert not parse(text).matches({"other": "x"})


NAMES = [
    "a", "A", "0", "a.b", "a_b", "a-b", "example.com/role", "a/b/c", "-a", ".a", "/", "_",
    "projectcalico.org/namespace", "pcns.projectcalico.org/name", "a" * 512,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_a_label_may_be_called(name: str) -> None:
    assert parse(f"{name} == 'x'").matches({name: "x"})
    assert parse(f"has({name})").matches({name: ""})


# --- bad input ---------------------------------------------------------------------------------

REFUSED = [
    # selector, position of the fault
    ("a", 1), ("a b", 2), ("'a'", 0), ("a ==", 4), ("a == b", 5), ("a == 'x", 5),
    ('a == "x', 5), ("a == 'x\"", 5), ("'x' == a", 0), ("== 'x'", 0), ("a = 'x'", 2),
    ("a === 'x'", 4), ("a =! 'x'", 2), ("a <> 'x'", 2), ("a ~ 'x'", 2), ("a == 'x' 'y'", 9),
    ("a == 'x' == 'x'", 9), ("a == {'x'}", 5), ("a in 'x'", 5), ("a in ('x')", 5),
    ("a in {'x'", 9), ("a in {'x', b}", 11), ("a in {,'x'}", 6), ("a in {'x',,}", 10),
    ("a in ['x']", 5), ("a not {'x'}", 2), ("a inx {'x'}", 2), ("a containsx 'x'", 2),
    ("a IN {'x'}", 2), ("a starts 'x'", 2), ("a with 'x'", 2), ("a not == 'x'", 2),
    ("a contains", 10), ("a contains x", 11), ("a contains {'x'}", 11), ("has", 3), ("has()", 4),
    ("has a", 4), ("has(a b)", 5), ("has(a", 5), ("has (a)", 4), ("has('a')", 4), ("Has(a)", 3),
    ("all", 3), ("all(a)", 4), ("all (", 4), ("global(a)", 7), ("!", 1), ("! &&", 2), ("a !", 2),
    ("has(a) &&", 9), ("has(a) ||", 9), ("&& has(a)", 0), ("|| has(a)", 0), ("has(a) & has(b)", 7),
    ("has(a) | has(b)", 7), ("has(a) and has(b)", 7), ("has(a) &&& has(b)", 9), ("(", 1), (")", 0),
    ("()", 1), ("(has(a)", 7), ("has(a))", 6), ("((has(a))", 9), ("has(a) (has(b))", 7),
    ("has(a),has(b)", 6), ("{}", 0), ("has(a)\nhas(b)", 6), ("\nall()", 0), ("has(a)\r", 6),
    ("has(é)", 4), ("é == 'x'", 0), ("a\u00a0== 'x'", 1), ("a == 'x\x00'", 7),
    ("a == '\x1b[2J'", 6),
    ("a == 'x\u2028'", 7), ("a;b == 'x'", 1), ("a,b == 'x'", 1), ("a@b == 'x'", 1),
    ("a == `x`", 5), ("has($a)", 4), ("# has(a)", 0), ("a" * 513, 0),
    ("has(" + "a" * 513 + ")", 4),
]  # fmt: skip


@pytest.mark.parametrize(("text", "position"), REFUSED)
def test_what_is_no_selector_is_refused_where_it_goes_wrong(text: str, position: int) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert caught.value.position == position
    assert f"(character {position + 1})" in str(caught.value)
    assert caught.value.message.isprintable()
    assert caught.value.cure.isprintable()
