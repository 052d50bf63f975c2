"""Opening an SMTP connection: connect, encrypt, log in. Nothing is handed over here, so no message is in doubt."""

import smtplib
import socket
import ssl

from mmcampaign.delivery import SmtpOptions, quote_reply
from mmcampaign.delivery.smtp_proofs import CLOSING


class CannotOpenError(Exception):
    """There is no connection. ``halt`` unless the server asked for patience (4xx); ``slower``: it is too busy (421)."""

    def __init__(self, sentence: str, *, code: int = 0) -> None:
        super().__init__(sentence)
        self.sentence, self.halt, self.slower = sentence, code // 100 != 4, code == CLOSING


# What went wrong, the nearest kind first -> what to say about it and what to do.
_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (smtplib.SMTPAuthenticationError, "refused the login. Check [delivery.smtp] username and MMCAMPAIGN_SMTP_PASSWORD"),
    (smtplib.SMTPNotSupportedError, "lacks what the settings ask for. Check [delivery.smtp] security, port, username"),
    (smtplib.SMTPServerDisconnected, "ended the connection or did not answer. Check [delivery.smtp] port and security"),
    (smtplib.SMTPException, "does not take our connection"),
    (ssl.SSLCertVerificationError, "has no valid certificate for that name. Check [delivery.smtp] host"),
    (ssl.SSLError, "does not speak TLS as asked. Check [delivery.smtp] port and security"),
    (socket.gaierror, "has a name that cannot be looked up. Check [delivery.smtp] host and the network"),
    (TimeoutError, "does not answer. Check [delivery.smtp] host, port and the network"),
    (ConnectionRefusedError, "refuses connections. Check that it runs, and [delivery.smtp] host and port"),
    (UnicodeError, "has a name that no host can have. Check [delivery.smtp] host"),
    (OSError, "cannot be reached. Check [delivery.smtp] host, port and the network"),
)


def tls_context(options: SmtpOptions) -> ssl.SSLContext | None:
    """What certificates are checked against, made once: loading the authorities takes longer than many messages."""
    return None if options.security == "none" else ssl.create_default_context()


def open_connection(options: SmtpOptions, context: ssl.SSLContext | None) -> smtplib.SMTP:
    """An SMTP session that is ready for MAIL: encrypted with a checked certificate, logged in, if so configured."""
    try:
        return _open(options, context)
    except (OSError, UnicodeError) as error:  # smtplib's own are OSErrors too; a host like "a..b" is no Unicode name
        raise _explained(error, options) from error


def _open(options: SmtpOptions, context: ssl.SSLContext | None) -> smtplib.SMTP:
    if options.security == "tls":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(options.host, options.port, timeout=options.timeout, context=context)
    else:
        smtp = smtplib.SMTP(options.host, options.port, timeout=options.timeout)
    try:
        smtp.ehlo_or_helo_if_needed()
        if options.security == "starttls":
            smtp.starttls(context=context)
            smtp.ehlo_or_helo_if_needed()
        if options.username:
            smtp.login(options.username, options.password)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _explained(error: OSError | UnicodeError, options: SmtpOptions) -> CannotOpenError:
    what = next(text for kind, text in _SENTENCES if isinstance(error, kind))
    sentence = f"The mail server {options.host}:{options.port} {what}."
    if not isinstance(error, smtplib.SMTPResponseException):
        return CannotOpenError(sentence)
    return CannotOpenError(
        f"{sentence} It said: {error.smtp_code} {quote_reply(error.smtp_error)}", code=error.smtp_code
    )
