"""Why a record or an event is not rated (R2.3)."""

MALFORMED = "malformed"
TOO_LARGE = "too_large"
INVALID_FIELD = "invalid_field"
WRONG_KEY = "wrong_key"
TIME_IN_FUTURE = "time_in_future"
UNKNOWN_CUSTOMER = "unknown_customer"
UNKNOWN_DEPLOYMENT = "unknown_deployment"
WRONG_CUSTOMER = "wrong_customer"
AIR_GAPPED = "air_gapped"
ID_CONFLICT = "id_conflict"
NO_SUBSCRIPTION = "no_subscription"
UNKNOWN_PRICE = "unknown_price"

CODES = (
    MALFORMED,
    TOO_LARGE,
    INVALID_FIELD,
    WRONG_KEY,
    TIME_IN_FUTURE,
    UNKNOWN_CUSTOMER,
    UNKNOWN_DEPLOYMENT,
    WRONG_CUSTOMER,
    AIR_GAPPED,
    ID_CONFLICT,
    NO_SUBSCRIPTION,
    UNKNOWN_PRICE,
)
"""In the order in which they are checked."""


class Rejected(Exception):  # noqa: N818 - the glossary's word
    """A record or event is rejected: `code` of CODES, and a one-line message that names the field."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
