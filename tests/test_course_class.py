"""A class from its grades: roster, points by hand, tables, feedback, summary, picture, and the command `report`."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import chromium, need_browser
from coursework import E1_ALONE

from minikd.cli.main import main
from minikd.course.exercises import EXERCISES
from minikd.course.exercises.exercise import Result
from minikd.course.grading.feedback import feedback, file_names, html, markdown, write_feedback
from minikd.course.grading.grade import Grade
from minikd.course.grading.gradebook import details, import_table, table
from minikd.course.grading.members import Member, members
from minikd.course.grading.roster import Note, read_notes, read_roster
from minikd.course.grading.submission import SubmissionError
from minikd.course.grading.summary import lines, summary
from minikd.report import plots

SEED = 987654321987
EVIL = "<script>alert(1)</script> [x](javascript:y) `*_|&\t\x1b[2J\u202e\n# head\n\n```\n<b>"
CANVAS = (
    "\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,HW 1 (881)\n    Points Possible,,,,,100\n"
    '"Lovelace, Ada",12345,s001,ada01,A,\n"Hopper, Grace Murray",12346,s002,grace,A,\n'
    '"Lovelace, Ada",12399,s003,ada02,B,\n"Student, Test",999,,test,A,\n'
)
MOODLE = (
    "First name,Last name,ID number,Email address\n"
    "Ada,Lovelace,,ada01@uni.edu\nGrace Murray,Hopper,17,grace@uni.edu\nZoë,O'Neil-李,,zoe@uni.edu\n"
)
WORKSHEET = "Identifier,Full name,Email address,Grade\nParticipant 123456,Ada Lovelace,ada01@uni.edu,\n"
BLACKBOARD = "Last Name\tFirst Name\tUsername\tStudent ID\nLovelace\tAda\tada01\tS1\nHopper\tGrace\tgrace\tS2\n"
BRIGHTSPACE = "OrgDefinedId;Username;Last Name;First Name;End-of-Line Indicator\n#77;#ada01;Lovelace;Ada;#\n"
GRADESCOPE = "First Name,Last Name,SID,Email,Sections\r\nAda,Lovelace,55,ada01@uni.edu,A\r\n\r\n"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def graded(student: str, right: Sequence[str] = (), *known_as: str, **more: str) -> Grade:
    """A grade in which the exercises `right` are solved; `more` is said of every other check."""
    results = []
    for name, exercise in EXERCISES.items():
        for check in exercise.checks:
            kind, points = ("passed" if name in right else "wrong"), 5 * check.share
            said = {} if name in right else more
            results.append(Result(name, check.name, points * (name in right), points, kind, **said))
    return Grade(student, SEED, results, known_as=list(known_as))


def roster(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    return [(person.identifier, person.name) for person in read_roster(write(tmp_path / "roster.csv", text))]


# ---- the roster --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "encoding", "wanted"),
    [
        (CANVAS, "utf-8", [("s001", "Lovelace, Ada"), ("s002", "Hopper, Grace Murray"), ("s003", "Lovelace, Ada")]),
        (MOODLE, "utf-8", [("ada01@uni.edu", "Ada Lovelace"), ("grace@uni.edu", "Grace Murray Hopper"),
                           ("zoe@uni.edu", "Zoë O'Neil-李")]),
        (WORKSHEET, "utf-8", [("Participant 123456", "Ada Lovelace")]),
        (BLACKBOARD, "utf-16", [("S1", "Ada Lovelace"), ("S2", "Grace Hopper")]),
        (BRIGHTSPACE, "utf-8", [("#77", "Ada Lovelace")]),
        (GRADESCOPE, "utf-8", [("55", "Ada Lovelace")]),
        ('identifier,name\n1,"Love\nlace"\n2,"a;b;c"\n,,\n', "utf-8", [("1", "Love lace"), ("2", "a;b;c")]),
    ],
    ids=["Canvas", "Moodle", "Moodle's worksheet", "Blackboard", "Brightspace", "Gradescope", "by hand"],
)  # fmt: skip
def test_a_roster_is_read_as_gradebooks_export_it(
    text: str, encoding: str, wanted: list[tuple[str, str]], tmp_path: Path
) -> None:
    people = read_roster(write(tmp_path / "roster.csv", text, encoding))
    assert [(person.identifier, person.name) for person in people] == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("identifier,name\n1,Ada\n,Bob\n", "line 3 has no identifier: a cell of identifier is wanted, for Bob"),
        ("identifier,name\na1,Ada\n\nA1,Bob\n", "line 4: 'A1' must stand there once, and is already in"),
        ("number,who\n1,Ada\n", "line 1 must name an identifier .* got number, who"),
        ("identifier,nam\n1,Ada\n", "line 1 must name an identifier .* and name, .* got identifier, nam"),
        ("identifier,first name\n1,Ada\n", "line 1 must name"),
        ("identifier,name\n1,Lovelace, Ada\n", "line 2 has more cells than the 2 of line 1: put quotes around"),
        ('identifier,name\n1,"Ada\n', "line 2 is not CSV"),
        ("identifier,name\n", "names no student"),
        ("", "line 1 must name an identifier .* got nothing"),
        (None, "cannot read"),
    ],
)
def test_a_roster_that_is_none_is_one_clear_line(text: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "roster.csv"
    if text is not None:
        write(path, text)
    with pytest.raises(SubmissionError, match=said) as caught:
        read_roster(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_roster_that_is_not_utf_8_says_how_to_save_it(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match=r"roster\.csv is not UTF-8 text: save it as CSV with encoding UTF-8"):
        read_roster(write(tmp_path / "roster.csv", "identifier,name\n1,José\n", "cp1252"))


@pytest.mark.parametrize(
    ("text", "grade", "wanted"),
    [
        (CANVAS, graded("x", (), "canvas 12399", "name lovelaceada"), "s003"),
        (CANVAS, graded("hopper", (), "canvas 1", "name hoppergracemurray"), "s002"),
        (CANVAS, graded("ada02"), "s003"),
        (CANVAS, graded("S001"), "s001"),
        (CANVAS, graded("Grace Murray Hopper"), "s002"),
        (CANVAS, graded("x", (), "canvas 1", "name lovelaceada"), "fits several on the roster: s001, s003"),
        (CANVAS, graded("12345", (), "canvas 777", "name eve"), "not on the roster"),
        (MOODLE, graded("x", (), "id participant 5", "name zoeoneil李"), "zoe@uni.edu"),
        (MOODLE, graded("grace"), "grace@uni.edu"),
        (MOODLE, graded("eve"), "not on the roster"),
        ("id,email,name\n1,,\n", graded("#"), "not on the roster"),
        (WORKSHEET, graded("x", (), "id participant 123456", "name participant"), "Participant 123456"),
        (BLACKBOARD, graded("x", (), "id ada01"), "S1"),
        (BRIGHTSPACE, graded("ada01"), "#77"),
        (BRIGHTSPACE, graded("x", (), "name adalovelace"), "#77"),
        ("id,name\n12345,Eve\n6,Ada Lovelace\n", graded("x", (), "canvas 12345", "name lovelaceada"), "6"),
        ("id,name\n1,ada\nada,Bob\n", graded("ada"), "fits several on the roster: 1, ada"),
    ],
)
def test_a_submission_is_matched_by_number_and_name_or_named(
    text: str, grade: Grade, wanted: str, tmp_path: Path
) -> None:
    found = members([grade], read_roster(write(tmp_path / "roster.csv", text)))
    (member,) = [member for member in found if member.grade]
    assert (member.identifier if member.known_as else member.remark) == wanted


def test_a_person_has_one_submission_and_a_second_is_named_and_not_counted(tmp_path: Path) -> None:
    people = read_roster(write(tmp_path / "r.csv", CANVAS))
    found = members([graded("ada01", ["E1"]), graded("s001", ["E2"])], people)
    assert [(m.identifier, m.score(), m.remark) for m in found] == [
        ("s001", 5.0, ""),
        ("s002", 0.0, "no submission"),
        ("s003", 0.0, "no submission"),
        ("s001", 5.0, "not counted: ada01 is also a submission of s001"),
    ]


# ---- tables ------------------------------------------------------------------------------------------------------


def test_who_handed_in_nothing_has_0_and_who_is_not_on_the_roster_is_kept(tmp_path: Path) -> None:
    people = read_roster(write(tmp_path / "r.csv", "identifier,name\n=1+1,Ada\nb,@Bob\n"))
    found = members([graded("eve", ["E1"]), graded("b", ["E2", "E3"])], people)
    rows = list(csv.reader(io.StringIO(table(found))))
    assert rows[0] == ["identifier", "name", "student", "score", "max_score", *EXERCISES, "seed", "seconds", "problems"]
    assert [(*row[:5], *row[-3:]) for row in rows[1:]] == [
        ("'=1+1", "Ada", "", "0", "115", "", "", "no submission"),
        ("b", "'@Bob", "b", "10", "115", str(SEED), "0.0", ""),
        ("", "", "eve", "5", "115", str(SEED), "0.0", "not on the roster"),
    ]
    assert import_table(found) == "identifier,name,score\n'=1+1,Ada,0\nb,'@Bob,10\n"
    assert import_table(members([graded("eve", ["E1"])])) == "identifier,name,score\neve,,5\n"
    assert table(members([graded("eve")])).startswith("student,score,max_score,E1,")


def test_points_by_hand_are_added_to_the_exercise_and_the_whole(tmp_path: Path) -> None:
    text = (
        "Identifier;Exercise;Points;Comment\ns001;e4;2.5;well begun\nADA01;E4;-1;\nada01;;-0.25;late\ns002;;;see me\n"
    )
    notes = read_notes(write(tmp_path / "manual.csv", text))
    people = read_roster(write(tmp_path / "r.csv", CANVAS))
    ada, grace, other = members([graded("ada01", ["E1"])], people, notes)
    assert (ada.score("E1"), ada.score("E4"), ada.score()) == (5.0, 1.5, 6.25)
    assert (grace.score(), [note.comment for note in grace.notes], other.notes) == (0.0, ["see me"], [])
    (row, *_) = csv.DictReader(io.StringIO(table([ada, grace, other])))
    assert (row["score"], row["E4"], row["max_score"]) == ("6.25", "1.5", "115")
    (bob,) = members([graded("Bob")], (), [Note("", "bob", "E2", 3, "")])
    assert bob.score() == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("nobody,E4,1,", r"line 3: identifier must be an identifier .*; 'nobody' is nobody"),
        (",E4,1,", r"line 3: identifier must be .*; '' is nobody"),
        ("x@a.b,E4,1,", r"line 3: identifier must be .*; 'x@a.b' fits 2 students"),
        ("1,E24,1,", "line 3: exercise must be E1 to E23, or empty for the whole, got 'E24'"),
        ('1,E4,"2,5",', "line 3: points must be a number such as -1.5, or empty, got '2,5'"),
        ("1,E4,inf,", "line 3: points must be a number"),
        ("1,E4,nan,", "line 3: points must be a number"),
    ],
)
def test_a_wrong_line_of_points_by_hand_is_named(row: str, said: str, tmp_path: Path) -> None:
    people = read_roster(write(tmp_path / "r.csv", "id,name,email\n1,Ada,x@a.b\n2,Bob,x@a.b\n"))
    path = write(tmp_path / "manual.csv", f"identifier,exercise,points,comment\n1,,1,fine\n{row}\n")
    with pytest.raises(SubmissionError, match=rf"manual\.csv, {said}"):
        members([], people, read_notes(path))
    with pytest.raises(
        SubmissionError, match="line 1 must name identifier, exercise, points, comment: there is no points"
    ):
        read_notes(write(path, "identifier,exercise,comment\n"))


# ---- feedback ----------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def evil() -> Member:
    """A student whose name, words, output and problems try to be markup, with points by hand."""
    grade = graded(EVIL, ["E1", "E2"], words=EVIL, output=f"what it printed {EVIL}", trace="Traceback")
    grade.problems.append(f"left out {EVIL}")
    notes = [Note("", "", "E4", 2.5, EVIL), Note("", "", "", -1, "late")]
    return Member(grade, 115.0, EVIL, notes=notes)


def test_feedback_holds_scores_findings_what_was_left_out_and_comments_but_no_hidden_inputs() -> None:
    blocks = list(feedback(evil()))
    texts = [text for _, text in blocks]
    assert ("h2", "Left out") in blocks and f"left out {EVIL}" in texts
    assert f"E4, +2.5 points: {EVIL}" in texts and "In all, -1 points: late" in texts
    assert blocks[0] == ("h1", f"{EVIL}: 11.5 of 115 points")
    assert "E4 the loss of distillation and its gradient\t2.5 of 5" in dict(blocks)["table"].split("\n")
    assert texts.count(EVIL.strip()) == 21, "checks that failed for the same reason stand together"
    assert ("p", "Not right: one step; fifty steps, to 1e-8") in blocks
    for text in (html(blocks), markdown(blocks)):
        assert str(SEED) not in text and "printed" not in text and "Traceback" not in text


def test_a_page_takes_no_text_for_markup_and_needs_nothing_else() -> None:
    text = html(feedback(evil()))
    page = Page(text)
    assert not {"script", "b", "a", "img", "link"} & set(page.tags) and page.tags.count("h1") == 1
    assert "<script>alert(1)</script>" in page.text and "&lt;script&gt;" in text
    assert "default-src 'none'" in text and not re.search(r"https?:|url\(|@import|src=", text)
    assert all(c.isprintable() or c == "\n" for c in text)
    named = html(feedback(Member(graded("x"), 115.0, "TITLE BODY")))
    assert named.count("TITLE BODY: 0 of 115 points") == 2 and "<h1>TITLE BODY: 0" in named
    assert page.tags.count("tr") == 23 and page.tags.count("table") == 1


def test_markdown_takes_no_text_for_markup() -> None:
    text = markdown(feedback(evil()))
    assert all(c.isprintable() or c == "\n" for c in text)
    own = [line for line in text.split("\n") if line and not line.startswith("    ")]
    assert len([line for line in own if line.startswith("#")]) == 5 + 21
    assert not any(re.search(r"(?<!\\)[<`*\[\]_&]", line) for line in own)
    assert all(line.count("|") - line.count("\\|") == 3 for line in own if line.startswith("|"))
    assert "    # head" in text and "\n# head" not in text and "\n```" not in text


def test_feedback_is_short_where_nothing_is_wrong_written_or_there() -> None:
    assert list(feedback(Member(graded("ada", list(EXERCISES)), 115.0, "ada")))[-1] == ("p", "Every check is right.")
    todo = graded("bob", ["E1"])
    todo.results = [r if r.passed else Result(r.exercise, r.check, 0, r.max_score, "todo") for r in todo.results]
    assert list(feedback(Member(todo, 115.0, "ada")))[-1] == ("p", f"Not written yet: {', '.join(list(EXERCISES)[1:])}")
    assert list(feedback(Member(None, 115.0, "ada")))[-1] == ("p", "There is no submission.")


def test_file_names_are_safe_apart_and_the_same_each_time() -> None:
    hostile = ["../../etc/passwd", "a/b", "a:b", "a b", "A", "a", "", ".", "..", ".hidden", "con", "NUL.txt", "-rf",
               "x" * 300, "x" * 299 + "y", "李明", "é", "e\u0301",
               "ada@uni.edu", "s001", "\ud800", "a\x1b[2J", "-"]  # fmt: skip
    hostile.append(file_names(hostile)[1])  # somebody who is called as another's file
    names = file_names(hostile)
    assert len({name.casefold() for name in names}) == len(hostile) and names == file_names(hostile)
    for name in names:
        assert re.fullmatch(r"[\w@+][\w.@+-]*", name) and len(name.encode("utf-8")) < 200
        assert not re.fullmatch(r"(?i)(con|nul)(\..*)?", name)
    assert {"A", "李明", "é", "ada@uni.edu", "s001"} <= set(names)


def test_each_student_gets_a_page_and_a_text(tmp_path: Path) -> None:
    found = members([graded("../up", ["E1"]), graded("ada")], read_roster(write(tmp_path / "r.csv", CANVAS)))
    pages = write_feedback(found, tmp_path / "new" / "feedback")
    assert [page.name for page in pages[:3]] == ["s001.html", "s002.html", "s003.html"] and len(pages) == 5
    assert sorted(path.suffix for path in (tmp_path / "new" / "feedback").iterdir()) == [".html"] * 5 + [".md"] * 5
    assert "There is no submission." in pages[0].read_text("utf-8") and "5 of 115 points" in pages[3].read_text("utf-8")
    assert (
        pages[0]
        .with_suffix(".md")
        .read_text("utf-8")
        .startswith("# Lovelace, Ada: 0 of 115 points\n\nIdentifier: s001")
    )


@pytest.mark.slow
def test_a_page_fits_a_narrow_screen(tmp_path: Path) -> None:
    need_browser()
    member = evil()
    member.identifier = "x" * 200
    member.grade = graded("", [], words="y" * 500 + " z" * 300)
    (page_file,) = write_feedback([member], tmp_path)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 360, "height": 640})
        page.goto(page_file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("getComputedStyle(document.querySelector('pre')).whiteSpace") == "pre-wrap"


# ---- the summary -------------------------------------------------------------------------------------------------


def the_class() -> list[Grade]:
    """Four submissions: 0, 5, 50 and 115 points."""
    names = list(EXERCISES)
    none, one = graded("a", diagnosis="T² is missing"), graded("b", names[:1], diagnosis="T² is missing")
    return [none, one, graded("c", names[:10], diagnosis="wrong sign"), graded("d", names)]


def test_a_summary_counts_scores_failures_and_diagnoses_once_a_student(tmp_path: Path) -> None:
    found = summary(members([*the_class()]))
    assert found.histogram == [2, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert found.failed[0] == ("E11", 3) and found.failed[-1] == ("E1", 1) and len(found.failed) == 23
    assert found.diagnoses[:2] == [("E2", "T² is missing", 2), ("E3", "T² is missing", 2)]
    said = lines(found)
    assert said[0] == "4 submissions, median 27.5 of 115"
    assert said[1] == "        0 to    11.5     2 " + "#" * 40 and said[10] == "    103.5 to     115     1 " + "#" * 20
    assert "     3 of 4  E14 the logarithm of a probability that has become 0" in said
    assert "     2 of 4  E2 T² is missing" in said
    people = read_roster(write(tmp_path / "r.csv", "id,name\na,Ada\nz,Zoë\n"))
    said = lines(summary(members(the_class()[:2], people)))
    assert said[-2:] == ["no submission (1): z", "b: not on the roster"]


def test_a_summary_of_odd_scores_stands(tmp_path: Path) -> None:
    over = members([graded("a", list(EXERCISES))], (), [Note("", "a", "", 50, "")])
    under = members([graded("b")], (), [Note("", "b", "", -50, "")])
    assert summary([*over, *under]).histogram == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert summary(members([Grade("c", 1)])).histogram == [1] + [0] * 9
    long = summary(members([graded("c", diagnosis="long " * 40)]))
    assert max(map(len, lines(long))) <= 80
    nobody = summary(members([], read_roster(write(tmp_path / "r.csv", "id,name\n1,Ada\n"))))
    assert lines(nobody)[0] == "0 submissions, median 0 of 0" and sum(nobody.histogram) == 0


def test_the_picture_shows_the_histogram_and_the_ten_most_failed() -> None:
    found = summary(members(the_class()))
    scores, exercises = plots.class_summary(found.histogram, found.max_score, dict(found.failed)).axes
    assert [bar.get_height() for bar in scores.patches] == found.histogram
    assert [bar.get_x() for bar in scores.patches] == pytest.approx([11.5 * i for i in range(10)])
    assert scores.get_title() == "Scores of 4 submissions"
    assert [bar.get_width() for bar in exercises.patches] == [3] * 10
    assert [label.get_text() for label in exercises.get_yticklabels()] == [f"E{i}" for i in range(11, 21)]
    _, none = plots.class_summary([0, 1], 0.0, {}).axes
    assert [label.get_text() for label in none.get_yticklabels()] == ["every exercise is solved"]


# ---- the command -------------------------------------------------------------------------------------------------


def course(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["course", *map(str, arguments)])
    return int(stopped.value.code or 0)


def test_report_writes_all_that_it_is_asked_for_within_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grades.json").write_text(details([*the_class(), graded("s001", ["E1"]), graded("x" * 100)]))
    write(Path("roster.csv"), CANVAS + "".join(f'"Last{i}, First{i}",{i},t{i:03d},login{i},A,\n' for i in range(200)))
    write(Path("manual.csv"), "identifier,exercise,points,comment\ns001,E2,1.5,good\n")
    options = [
        "--roster",
        "roster.csv",
        "--manual",
        "manual.csv",
        "--out",
        "out/table.csv",
        "--gradebook",
        "import.csv",
    ]
    assert course("report", "grades.json", *options, "--feedback", "feedback", "--picture", "class.png") == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.replace("x" * 100, "x").splitlines())) <= 80
    assert "6 submissions, median 5.75 of 115" in printed and "no submission (202): s002, s003, t000" in printed
    assert Path("import.csv").read_text("utf-8").startswith('identifier,name,score\ns001,"Lovelace, Ada",6.5\n')
    assert Path("out/table.csv").read_text("utf-8").count("\n") == 1 + 203 + 5
    assert len(list(Path("feedback").iterdir())) == 2 * 208
    assert Path("class.png").read_bytes().startswith(b"\x89PNG")
    assert "1.5 of 5" in Path("feedback/s001.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.json"], "cannot read nowhere.json"),
        (["text.json"], "text.json holds no grades: the .json file that `minikd course grade` wrote is wanted"),
        (["list.json"], "list.json holds no grades"),
        (["other.json"], "other.json holds no grades"),
        (["grades.json", "--out", "grades.json"], "--out must be a .csv file, got grades.json"),
        (["grades.json", "--picture", "x.jpg"], "--picture must be a .png file, got x.jpg"),
        (["grades.json", "--roster", "text.json"], "text.json, line 1 must name"),
        (["grades.json", "--feedback", "grades.json"], "cannot make the folder grades.json"),
        (["grades.json", "--gradebook", "grades.json/x.csv"], "cannot write grades.json/x.csv"),
    ],
)
def test_what_cannot_be_reported_is_one_clear_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grades.json").write_text(details([graded("ada")]))
    Path("text.json").write_text("text")
    Path("list.json").write_text("[1]")
    Path("other.json").write_text(details([graded("ada")]).replace('"E1"', '"E99"'))
    assert course("report", *arguments) in (1, 2)
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "Traceback" not in error
    assert json.loads(Path("grades.json").read_text())[0]["student"] == "ada"


@pytest.mark.skipif(os.name != "posix", reason="submissions of others are run on POSIX systems alone")
def test_grade_ends_with_the_same_as_report_and_refuses_a_bad_roster_before_it_grades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("class").mkdir()
    for name in ("lovelaceada_LATE_12399_67890_solution-1.py", "Grace Murray Hopper.py", "eve.py"):
        Path("class", name).write_text(E1_ALONE if name != "eve.py" else "")
    write(Path("bad.csv"), "name\nAda\n")
    write(Path("roster.csv"), CANVAS)
    assert course("grade", "class", "--out", "grades.csv", "--roster", "bad.csv") == 1
    assert "bad.csv, line 1 must name" in capsys.readouterr().err and not Path("grades.json").exists()
    options = ["--roster", "roster.csv", "--gradebook", "import.csv"]
    assert course("grade", "class", "--out", "grades.csv", *options) == 0
    once = capsys.readouterr().out
    assert Path("import.csv").read_text("utf-8").splitlines() == [
        "identifier,name,score", 's001,"Lovelace, Ada",0', 's002,"Hopper, Grace Murray",5', 's003,"Lovelace, Ada",5',
    ]  # fmt: skip
    before = Path("grades.csv").read_text("utf-8")
    assert course("report", "grades.json", "--out", "grades.csv", *options) == 0
    again = capsys.readouterr().out
    assert Path("grades.csv").read_text("utf-8") == before and once.endswith(again)
    assert "no submission (1): s001\neve: not on the roster\n" in again
