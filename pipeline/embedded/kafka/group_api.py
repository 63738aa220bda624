"""Answer requests of consumer groups: membership and committed offsets."""

from pipeline.embedded.kafka.data_api import NODE_ID, Address
from pipeline.embedded.kafka.groups import Groups
from pipeline.embedded.kafka.members import Joining
from pipeline.embedded.kafka.messages import Code
from pipeline.embedded.kafka.offsets import Committed, Offsets
from pipeline.embedded.kafka.wire import Message

_MEMBER_ID_FIRST = 4
"""From this version on a member without an id is told one and joins again (KIP-394)."""
_NO_OFFSET = Committed(-1, "")


class GroupApi:
    """The requests about groups."""

    def __init__(self, groups: Groups, offsets: Offsets, address: Address) -> None:
        """Serve these groups; this broker at `address` coordinates them all."""
        self._groups = groups
        self._offsets = offsets
        self._address = address

    async def find_coordinator(self, _request: Message, _version: int) -> Message:
        """Name this broker."""
        return {"node_id": NODE_ID, "host": self._address.host, "port": self._address.port}

    async def join_group(self, request: Message, version: int, client_id: str) -> Message:
        """Take a member in; the answer comes when the new generation begins."""
        group = self._groups.group(request["group_id"])
        session_s = request["session_timeout_ms"] / 1000
        member_id = request["member_id"]
        if not member_id:
            member_id = group.promise_member_id(client_id, session_s)
            if version >= _MEMBER_ID_FIRST and request.get("group_instance_id") is None:
                return {"error_code": Code.MEMBER_ID_REQUIRED, "generation_id": -1, "member_id": member_id} | _NOTHING
        joining = Joining(
            member_id,
            client_id,
            request.get("group_instance_id"),
            session_s,
            float(request.get("rebalance_timeout_ms") or request["session_timeout_ms"]) / 1000,
            request["protocol_type"],
            [(one["name"], bytes(one["metadata"] or b"")) for one in request["protocols"]],
        )
        joined = await group.join(joining)
        return {
            "error_code": joined.error,
            "generation_id": joined.generation,
            "protocol_name": joined.protocol,
            "leader": joined.leader,
            "member_id": joined.member_id,
            "members": [
                {"member_id": key, "group_instance_id": instance, "metadata": metadata}
                for key, instance, metadata in joined.members
            ],
        }

    async def sync_group(self, request: Message, _version: int) -> Message:
        """Hand out assignments."""
        group = self._groups.group(request["group_id"])
        assignments = {one["member_id"]: bytes(one["assignment"] or b"") for one in request["assignments"]}
        synced = await group.sync(request["member_id"], request["generation_id"], assignments)
        return {"error_code": synced.error, "assignment": synced.assignment}

    async def heartbeat(self, request: Message, _version: int) -> Message:
        """Note that a member lives."""
        group = self._groups.group(request["group_id"])
        return {"error_code": group.heartbeat(request["member_id"], request["generation_id"])}

    async def leave_group(self, request: Message, _version: int) -> Message:
        """Let a member go."""
        return {"error_code": self._groups.group(request["group_id"]).leave(request["member_id"])}

    async def offset_commit(self, request: Message, _version: int) -> Message:
        """Keep offsets, when the member may commit in its generation."""
        group_id = request["group_id"]
        error = self._groups.group(group_id).may_commit(request["member_id"], request["generation_id"])
        if error == Code.NONE:
            places = {
                (topic["name"], part["partition_index"]): Committed(
                    part["committed_offset"], part["committed_metadata"] or ""
                )
                for topic in request["topics"]
                for part in topic["partitions"]
            }
            self._offsets.commit(group_id, places)
        return {
            "topics": [
                {
                    "name": topic["name"],
                    "partitions": [
                        {"partition_index": part["partition_index"], "error_code": error}
                        for part in topic["partitions"]
                    ],
                }
                for topic in request["topics"]
            ]
        }

    async def offset_fetch(self, request: Message, _version: int) -> Message:
        """Return committed offsets; -1 where there is none."""
        kept = self._offsets.of_group.get(request["group_id"], {})
        wanted: dict[str, list[int]] = {}
        if request["topics"] is None:
            for name, index in kept:
                wanted.setdefault(name, []).append(index)
        else:
            wanted = {topic["name"]: topic["partition_indexes"] for topic in request["topics"]}
        return {
            "topics": [
                {"name": name, "partitions": [_offset(index, kept.get((name, index), _NO_OFFSET)) for index in indexes]}
                for name, indexes in wanted.items()
            ]
        }

    async def list_groups(self, _request: Message, _version: int) -> Message:
        """Name all groups that have members or offsets."""
        names = sorted(
            {name for name, group in self._groups.groups.items() if group.members} | set(self._offsets.of_group)
        )
        return {"groups": [{"group_id": name, "protocol_type": "consumer"} for name in names]}

    async def describe_groups(self, request: Message, _version: int) -> Message:
        """Tell a group's state and members."""
        return {"groups": [self._described(group_id) for group_id in request["groups"]]}

    def _described(self, group_id: str) -> Message:
        group = self._groups.groups.get(group_id)
        if group is None:
            known = group_id in self._offsets.of_group
            return _NO_GROUP | {"group_id": group_id, "group_state": "Empty" if known else "Dead"}
        return {
            "group_id": group_id,
            "group_state": group.state.value,
            "protocol_type": group.protocol_type,
            "protocol_data": group.protocol,
            "members": [
                {
                    "member_id": member_id,
                    "client_id": member.said.client_id,
                    "client_host": "/127.0.0.1",
                    "member_metadata": dict(member.said.protocols).get(group.protocol, b""),
                    "member_assignment": member.assignment,
                }
                for member_id, member in group.members.items()
            ],
        }

    async def delete_groups(self, request: Message, _version: int) -> Message:
        """Forget groups that have no members."""
        answers = []
        for group_id in request["groups_names"]:
            members = self._groups.group(group_id).members
            if not members:
                self._groups.forget(group_id)
                self._offsets.forget_group(group_id)
            answers.append({"group_id": group_id, "error_code": Code.NON_EMPTY_GROUP if members else Code.NONE})
        return {"results": answers}


_NOTHING: Message = {"protocol_name": "", "leader": ""}
_NO_GROUP: Message = {"protocol_type": "", "protocol_data": ""}


def _offset(index: int, committed: Committed) -> Message:
    return {"partition_index": index, "committed_offset": committed.offset, "metadata": committed.metadata}
