"""What people read is plain English: no word of the list below, and errors that say what to do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "sample-text"
PACKAGE = ROOT / "src" / "earmark"

# a word that translated text has -> the word to write
BANNED = {
    r"\bmend(s|ed|ing)?\b": "fix, repair",
    r"\banew\b": "again",
    r"\b(goes|go|gone|going|went) on\b": "continue, resume",
    r"\btold of\b": "report, pass to",
    r"\bwr(ite|ites|itten|iting|ote) over\b": "overwrite",
    r"\bso many\b": "that many, or the number",
    r"\bsome few\b|\bfew of them\b": "several, a few",
    r"\bon the quiet\b(?! machine)": "silently",
    r"\blets? go of\b": "release",
    r"\bas such\b": "say as what",
    r"\bin so many words\b": "explicitly",
    r"\bput (right|into words)\b": "correct; explain",
    r"\bbut for\b": "except for",
    r"\bhence\b": "so",
    r"\b(what|which) \w+( \w+)? (came|comes) to\b(?! train)": "the result",
    r"(?<!see and )(?<!#)\b(hear|hears|heard|unheard)\b": "listen to, play, see",
    r"\btold\b": "report, show, log",
    r"\b(a|the|as|its) shares?\b|\bshares? of (the )?(clips|samples|labels)\b": "fraction",
    r"\bsays? so\b": "say what is shown or logged",
    r"\bknow(s|ing) nothing\b": "by chance, constant prediction",
    r"\blies? (in|beside|below|at|behind|there|on)\b": "is in",
}

# The table of clips adds file or row and the action to the reason of an AudioError or CellError. Stopped has a default.
COMPLETED_ELSEWHERE = {"AudioError", "CellError", "Stopped"}
IMPERATIVES = set(
    re.findall(
        r"\w+",
        """
        Accept Add Append Ask Calibrate Call Check Choose Compare Convert Copy Correct Delete Download Drop Empty End
        Create Enter Evaluate Export Extract Fill Fix Free Give Hide Install Keep Label Leave Let List Load Look Lower
        Make Measure Merge Move Name Omit Open Pass Pick Point Push Put Raise Read Record Reinstall Remove Rename Repair
        Repeat Replace Report Restore Resume Retry Return Run Save Score See Select Send Set Shorten Spell Split Start
        Stop Train Try Unset Update Upgrade Upload Use Wait Wrap Write
        """,
    )
)
# Errors of a room that do not say what to do. These numbers only fall. Damaged stores are built again, which is logged.
WITHOUT_ACTION: dict[str, int] = {
    "store": 7,
}


def load_script() -> ModuleType:
    loader = SourceFileLoader("sample_text", str(SCRIPT))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


sample_text = load_script()


@cache
def texts() -> list[tuple[str, str]]:
    """Where each text stands, and the text in one line."""
    paths = [PACKAGE, ROOT / "docs", ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return [
        (f"{path.relative_to(ROOT)}:{text.line}", re.sub(r"\s+", " ", re.sub(r"\{[^{}]*\}", "{}", text.text)))
        for path in sample_text.files(paths)
        for text in sample_text.texts(path)
    ]


def found(pattern: str) -> list[str]:
    return [f"{where}: {text}" for where, text in texts() if re.search(pattern, text, re.I)]


@pytest.mark.parametrize("pattern", BANNED, ids=BANNED.values())
def test_no_banned_word_is_written(pattern: str) -> None:
    assert not found(pattern), f"write: {BANNED[pattern]}"


@cache
def user_errors() -> set[str]:
    """Names of the classes of errors whose message has to say what to do."""
    classes = [
        (node.name, {ast.unparse(base) for base in node.bases})
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    found, before = {"EarmarkError"}, set[str]()
    while found != before:
        before = found
        found = found | {name for name, bases in classes if bases & before and name not in COMPLETED_ELSEWHERE}
    return found


def raised_messages(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every error of a user that a file raises with a text of its own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(call, ast.Call) and call.args and ast.unparse(call.func).rpartition(".")[2] in user_errors():
            yield from ((node.lineno, text) for text in worded(call.args[0], node, tree))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MISSING":  # raised by Settings
            yield from ((node.lineno, text) for text in worded(node.value, node, tree))


def worded(value: ast.expr, raised: ast.AST, tree: ast.Module) -> list[str]:
    """Texts that an expression may have: its own, or those of the variable or function of the file that it names."""
    text = sample_text.literal(value)
    if text and re.search(r"[a-z]{3}", re.sub(r"\{[^{}]*\}|--\w+", "", text)):
        return [text]
    if isinstance(value, ast.IfExp):
        return worded(value.body, raised, tree) + worded(value.orelse, raised, tree)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        called = [one for one in functions if one.name == value.func.id]
        returned = [node.value for one in called for node in ast.walk(one) if isinstance(node, ast.Return)]
        return [text for one in returned if one is not None for text in worded(one, raised, tree)]
    if isinstance(value, ast.Name):
        own = next((one for one in functions if any(node is raised for node in ast.walk(one))), tree)
        assigned = [
            node.value
            for node in ast.walk(own)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == value.id
        ]
        return [text for one in assigned for text in worded(one, raised, tree)]
    return []


def says_what_to_do(message: str) -> bool:
    """Whether a sentence after the first is an imperative, or the message names the values to use or ends in advice."""
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z-])|(?<=})\s*(?=[A-Z-])", message)[1:]
    if re.search(r": expected (?!shape)", message):  # "--threshold 70: expected above 0 and at most 1"
        return True
    if message.endswith("{exc}"):  # the error that is passed on says it
        return True
    advice = re.search(
        r"\{[^{}]*(advice|expected|fix|hint|instead|near|suggestion|remedy|way_out|ways_out)[^{}]*\}", message, re.I
    )
    starts = [
        re.sub(r"^((If|To|For|Or|Then|First) [^,]*, |Please )", "", one).split(" ")[0].strip(".,:") for one in sentences
    ]
    return bool(advice) or any(start.capitalize() in IMPERATIVES for start in starts)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("a.csv, row 7: the file b.wav does not exist. Fix the path or remove the row.", True),
        ("--fold 3: there are no folds. To make some, add --folds N.", True),
        ("--few_sot: unknown flag{suggestion(name, flags)}", True),
        ("--threshold 70: expected above 0 and at most 1", True),
        ("a.csv: cannot be read; fix it", False),
        ("--class_weights: a has the weight 0; expected a number above 0", False),
        ("a.csv: the file is empty", False),
        ("a.csv: cannot be read. The disk is full.", False),
    ],
)
def test_an_action_is_recognised(message: str, expected: bool) -> None:
    assert says_what_to_do(message) == expected


def errors_without_action() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for line, message in raised_messages(path):
            if not says_what_to_do(message):
                found.setdefault(room, []).append(f"{path.relative_to(ROOT)}:{line}: {message}")
    return found


def test_errors_say_what_to_do() -> None:
    found = errors_without_action()
    too_many = {room: lines for room, lines in found.items() if len(lines) > WITHOUT_ACTION.get(room, 0)}
    assert not too_many, "end the message with what to do, as a sentence: 'Add --folds N.'"


def test_the_script_prints_a_seeded_sample(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        '"""Read the clips of one folder.\n\n    Args:\n        path: where the clips of the user are.\n"""\n'
        "# Samples come in blocks, because a recording\n# may be longer than the memory.\n"
        'raise ValueError(f"{path}: the file is empty. Remove the file {path}.")\n'
        'KEY = "not prose"\n',
        encoding="utf-8",
    )
    (tmp_path / "page.html").write_text(
        '<p>Play the <b>next clip</b> of the list.</p><script>say("No clip is left to play.") // a comment\n</script>',
        encoding="utf-8",
    )
    (tmp_path / "guide.md").write_text(
        "# Title\n\nOne command trains\na small model.\n\n```\nnot this code block\n```\n\n- The second resumes it.\n"
    )

    def printed(*words: str) -> list[str]:
        command = [sys.executable, str(SCRIPT), *words, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    lines = printed()
    found = {line.removeprefix(f"{tmp_path}/") for line in lines}
    assert found == {
        "module.py:1: docstring: Read the clips of one folder.",
        "module.py:4: docstring: path: where the clips of the user are.",
        "module.py:6: comment: Samples come in blocks, because a recording may be longer than the memory.",
        "module.py:8: message: {path}: the file is empty.",
        "module.py:8: message: Remove the file {path}.",
        "page.html:1: page: Play the next clip of the list.",
        "page.html:1: page: No clip is left to play.",
        "guide.md:3: prose: One command trains a small model.",
        "guide.md:10: prose: The second resumes it.",
    }
    assert printed("--seed", "1") == printed("--seed", "1") != lines
    assert len(printed("--count", "3")) == 3
    assert Counter(lines).most_common(1)[0][1] == 1
