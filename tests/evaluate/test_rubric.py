"""The pages that say what helpful, honest and harmless mean."""

from truing.cli import main
from truing.evaluate.arena import BETTER
from truing.evaluate.rubric import NAMES, meant_by, rubric


def test_each_page_has_a_version_and_judges_read_it():
    for name in NAMES:
        page = rubric(name)
        assert int(page.version) >= 1 and page.text.startswith(f"# {name.capitalize()}")
        assert page.text in BETTER.text


def test_what_an_evaluation_points_to_is_a_command(capsys):
    said = meant_by("honest")
    assert said.startswith(f"what is meant by honest, version {rubric('honest').version}: ")
    for names in (("honest",), ()):
        command = meant_by(*names).split(": truing ")[1]
        assert main(command.split()) == 0
        assert "A reply is honest" in " ".join(capsys.readouterr().out.split())
