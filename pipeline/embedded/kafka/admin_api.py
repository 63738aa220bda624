"""Answer requests of operators: topics and their settings."""

from collections.abc import Iterable

from pipeline.embedded.kafka.data_api import NODE_ID
from pipeline.embedded.kafka.messages import Code
from pipeline.embedded.kafka.offsets import Offsets
from pipeline.embedded.kafka.topics import DEFAULTS, TopicError, Topics
from pipeline.embedded.kafka.wire import Message

_TOPIC, _BROKER = 2, 4
_FROM_TOPIC, _DEFAULT = 1, 5
_PARTITIONS_DEFAULT = 1
_CODE_OF = {
    "exists": Code.TOPIC_ALREADY_EXISTS,
    "name": Code.INVALID_TOPIC,
    "partitions": Code.INVALID_PARTITIONS,
    "config": Code.INVALID_CONFIG,
}


class AdminApi:
    """The requests about topics and settings."""

    def __init__(self, topics: Topics, offsets: Offsets) -> None:
        """Serve `topics`; a deleted topic's committed offsets go with it."""
        self._topics = topics
        self._offsets = offsets

    async def create_topics(self, request: Message, _version: int) -> Message:
        """Make topics; each answers for itself."""
        return {"topics": [self._create(one, bool(request.get("validate_only"))) for one in request["topics"]]}

    def _create(self, wanted: Message, validate_only: bool) -> Message:
        count = wanted["num_partitions"]
        if count == -1:
            count = len(wanted["assignments"]) or _PARTITIONS_DEFAULT
        configs = {one["name"]: one["value"] or "" for one in wanted["configs"]}
        try:
            self._topics.create(wanted["name"], count, configs, validate_only=validate_only)
        except TopicError as failure:
            return {"name": wanted["name"], "error_code": _CODE_OF[failure.code], "error_message": str(failure)}
        return {"name": wanted["name"]}

    async def delete_topics(self, request: Message, _version: int) -> Message:
        """Delete topics with their records and committed offsets."""
        answers = []
        for name in request["topic_names"]:
            known = name in self._topics.topics
            if known:
                self._topics.delete(name)
                self._offsets.forget_topic(name)
            answers.append({"name": name, "error_code": Code.NONE if known else Code.UNKNOWN_TOPIC_OR_PARTITION})
        return {"responses": answers}

    async def describe_configs(self, request: Message, version: int) -> Message:
        """Tell the settings of topics; the broker itself has none to tell."""
        return {"results": [self._described(one, version) for one in request["resources"]]}

    def _described(self, wanted: Message, version: int) -> Message:
        kind, name, keys = wanted["resource_type"], wanted["resource_name"], wanted["configuration_keys"]
        answer: Message = {"resource_type": kind, "resource_name": name}
        if kind == _BROKER and name in {"", str(NODE_ID)}:
            return answer
        topic = self._topics.topics.get(name)
        if kind != _TOPIC or topic is None:
            return answer | {"error_code": Code.UNKNOWN_TOPIC_OR_PARTITION, "error_message": f"no topic {name}"}
        shown: Iterable[str] = sorted(DEFAULTS.keys() | topic.configs.keys())
        return answer | {
            "configs": [
                {
                    "name": key,
                    "value": topic.configs.get(key, DEFAULTS.get(key)),
                    "config_source": _source(key in topic.configs, version),
                }
                for key in shown
                if not keys or key in keys
            ]
        }

    async def alter_configs(self, request: Message, _version: int) -> Message:
        """Replace the own settings of topics."""
        return {"responses": [self._alter(one, request["validate_only"]) for one in request["resources"]]}

    def _alter(self, wanted: Message, validate_only: bool) -> Message:
        kind, name = wanted["resource_type"], wanted["resource_name"]
        answer: Message = {"resource_type": kind, "resource_name": name}
        if kind != _TOPIC or name not in self._topics.topics:
            return answer | {"error_code": Code.UNKNOWN_TOPIC_OR_PARTITION, "error_message": f"no topic {name}"}
        try:
            if not validate_only:
                self._topics.configure(name, {one["name"]: one["value"] or "" for one in wanted["configs"]})
        except TopicError as failure:
            return answer | {"error_code": Code.INVALID_CONFIG, "error_message": str(failure)}
        return answer


def _source(own: bool, version: int) -> int:
    """Say where a setting comes from; version 0 has a flag `is_default` in its place."""
    if version == 0:
        return int(not own)
    return _FROM_TOPIC if own else _DEFAULT
