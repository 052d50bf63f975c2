"""docs/delivery-proofs.md: its tables come from ``proofs.py``, the words around them are its own.

``python -m tests.contract.proofs_page`` writes the page anew.
"""

from pathlib import Path

from tests.contract.proofs import FILE_OTHER, SENDGRID, SENDGRID_OTHER, SES, SES_OTHER, SMTP, SMTP_OTHER, Proof

PAGE = Path(__file__).parents[2] / "docs" / "delivery-proofs.md"
LINES: dict[str, dict[str, Proof]] = {
    "smtp": {**{what: proof for what, (_, _, proof) in SMTP.items()}, **SMTP_OTHER},
    "sendgrid": {**{what: proof for what, (_, proof) in SENDGRID.items()}, **SENDGRID_OTHER},
    "ses": {**{what: proof for what, (_, proof) in SES.items()}, **SES_OTHER},
    "file": FILE_OTHER,
}


def written(page: str) -> str:
    """The page with its tables as they should be."""
    for backend, lines in LINES.items():
        rows = "".join(f"| {what} | {outcome} | {run} |\n" for what, (outcome, run) in lines.items())
        head, mark, rest = page.partition(f"<!-- {backend} -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        page = f"{head}{mark}| what happens | the message | the run |\n| --- | --- | --- |\n{rows}{end}{tail}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
