"""Alerts by mail."""

import logging
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from pipeline.notify.notices import Notice
from pipeline.notify.sending import DaemonThread, UndeliveredError
from pipeline.notify.targets import SmtpTarget

log = logging.getLogger(__name__)

SUBJECT_MAX = 150


class MailSender:
    """Sends notices as mails, each over a connection of its own; the message id is made of the notice's."""

    def __init__(self, target: SmtpTarget) -> None:
        self._target = target
        self._password = target.password()
        self._thread = DaemonThread(target.timeout_s)
        self._context = ssl.create_default_context(cafile=target.ca_file)

    async def send(self, notice: Notice) -> None:
        """Return when the server has taken the mail. Raises UndeliveredError."""
        message = mail_of(notice, self._target)
        try:
            await self._thread.run(lambda: self._send(message))
        except smtplib.SMTPAuthenticationError as error:
            raise UndeliveredError(f"the mail server refuses our user or password: {error.smtp_code}") from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            raise UndeliveredError(
                f"the mail server refuses every recipient: {sorted(codes)}", permanent=min(codes) >= 500
            ) from None
        except smtplib.SMTPResponseException as error:
            raise UndeliveredError(
                f"the mail server answered {error.smtp_code}", permanent=error.smtp_code >= 500
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            raise UndeliveredError(f"no mail server at {self._target.host}: {type(error).__name__}") from None

    async def close(self) -> None:
        """Do nothing: no connection outlives a mail."""

    def _send(self, message: EmailMessage) -> None:
        target = self._target
        with self._connect() as server:
            if target.tls == "starttls":
                server.starttls(context=self._context)
            if target.username is not None and self._password is not None:
                server.login(target.username, self._password)
            refused = server.send_message(message, target.sender, list(target.recipients))
        for address, (code, _) in refused.items():
            log.error("target %s: the mail server refuses %s: %d; the others have got it", target.name, address, code)

    def _connect(self) -> smtplib.SMTP:
        target, timeout_s = self._target, self._target.timeout_s
        if target.tls == "tls":
            return smtplib.SMTP_SSL(target.host, target.port, timeout=timeout_s, context=self._context)
        return smtplib.SMTP(target.host, target.port, timeout=timeout_s)


def mail_of(notice: Notice, target: SmtpTarget) -> EmailMessage:
    """Return a notice as a mail."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = f"Usage alert: {notice.sentence}"[:SUBJECT_MAX]
    message["From"] = target.sender
    message["To"] = ", ".join(target.recipients)
    message["Date"] = format_datetime(datetime.fromtimestamp(notice.reached_ms // 1000, UTC))
    message["Message-ID"] = f"<{notice.id}@{target.sender.rpartition('@')[2].rstrip('>')}>"
    message["Auto-Submitted"] = "auto-generated"
    fields = "\n".join(f"{name}: {'' if value is None else value}" for name, value in notice.as_dict().items())
    message.set_content(f"{notice.sentence}.\n\n{fields}\n")
    return message
