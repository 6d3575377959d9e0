from __future__ import annotations

from typing import Any

import pytest

from jqueue.errors import OpPrereqError
from jqueue.opcodes.params import Parameters, param


class Example(Parameters):
    source: str = param("what to read")
    mode: str = param("how", default="fast", choices=["fast", "slow"])
    names: list[str] = param("which", default_factory=list)
    count: int = param("how many", default=1, check=lambda n: "at least 1 expected" if n < 1 else None)
    renamed: int = param("of another name", default=0, name="locks")

    def __init__(self, **given: Any) -> None:
        self._fill(self.check_parameters(given, "OP_EXAMPLE", "ops[0]"))


def refusal(**given: object) -> str:
    with pytest.raises(OpPrereqError) as caught:
        Example(**given)
    return str(caught.value)


def test_given_values_and_defaults_are_attributes() -> None:
    example = Example(source="a", count=3)
    assert (example.source, example.mode, example.names, example.count) == ("a", "fast", [], 3)


def test_a_default_list_is_not_shared() -> None:
    one, other = Example(source="a"), Example(source="b")
    one.names.append("x")
    assert other.names == []


def test_a_parameter_may_have_another_name_than_its_attribute() -> None:
    assert Example(source="a", locks=4).renamed == 4
    assert "no such parameter" in refusal(source="a", renamed=4)


def test_missing_ones_are_named_with_their_meaning() -> None:
    assert refusal() == "ops[0]: OP_EXAMPLE needs source (what to read)"


def test_an_unknown_one_is_refused_with_what_is_close() -> None:
    assert refusal(sorce="a") == "ops[0].sorce: OP_EXAMPLE has no such parameter; did you mean source?"


def test_an_unknown_one_like_no_other_is_refused_with_the_list() -> None:
    assert refusal(zzz=1).endswith("it takes count, locks, mode, names, source")


def test_choices_are_checked() -> None:
    assert refusal(source="a", mode="medium") == 'ops[0].mode: one of "fast", "slow" expected, got "medium"'


def test_what_the_check_says_is_reported_with_the_path() -> None:
    assert refusal(source="a", count=0) == "ops[0].count: at least 1 expected"


def test_the_check_is_not_asked_about_a_value_of_the_wrong_type() -> None:
    assert refusal(source="a", count="0") == 'ops[0].count: whole number expected, got "0"'


def test_a_derived_class_adds_to_what_it_inherits() -> None:
    class Derived(Example):
        more: bool = param("more", default=False)

    assert Derived(source="a", more=True).more is True
    assert "more" not in Example.parameters


def test_a_default_that_can_change_is_refused() -> None:
    with pytest.raises(TypeError, match="default_factory"):
        param("which", default=[])


def test_a_type_that_cannot_be_read_is_refused_with_class_and_attribute() -> None:
    with pytest.raises(TypeError, match="Broken.when: the type of the parameter cannot be read"):

        class Broken(Parameters):
            when: bytes = param("when")


def test_a_parameter_without_a_type_is_refused() -> None:
    with pytest.raises(TypeError, match="Broken.when"):

        class Broken(Parameters):
            when = param("when")


def test_a_second_parameter_of_a_taken_name_is_refused() -> None:
    with pytest.raises(TypeError, match="already has a parameter locks"):

        class Broken(Example):
            other: int = param("other", default=0, name="locks")
