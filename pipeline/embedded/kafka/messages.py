"""Say which Kafka APIs and versions the broker speaks, and its error codes."""

from pipeline.embedded.kafka.admin_messages import ADMIN_APIS
from pipeline.embedded.kafka.data_messages import DATA_APIS
from pipeline.embedded.kafka.group_messages import GROUP_APIS
from pipeline.embedded.kafka.transaction_messages import TRANSACTION_APIS

APIS = [*DATA_APIS, *GROUP_APIS, *TRANSACTION_APIS, *ADMIN_APIS]
API_OF_KEY = {api.key: api for api in APIS}


class Code:
    """Kafka's error codes."""

    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    MESSAGE_TOO_LARGE = 10
    INVALID_TOPIC = 17
    ILLEGAL_GENERATION = 22
    INCONSISTENT_GROUP_PROTOCOL = 23
    UNKNOWN_MEMBER_ID = 25
    REBALANCE_IN_PROGRESS = 27
    UNSUPPORTED_VERSION = 35
    TOPIC_ALREADY_EXISTS = 36
    INVALID_PARTITIONS = 37
    INVALID_CONFIG = 40
    INVALID_REQUEST = 42
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    INVALID_PRODUCER_EPOCH = 47
    INVALID_TXN_STATE = 48
    INVALID_PRODUCER_ID_MAPPING = 49
    INVALID_TRANSACTION_TIMEOUT = 50
    CONCURRENT_TRANSACTIONS = 51
    OPERATION_NOT_ATTEMPTED = 55
    NON_EMPTY_GROUP = 68
    MEMBER_ID_REQUIRED = 79
    PRODUCER_FENCED = 90
