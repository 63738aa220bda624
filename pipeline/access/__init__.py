"""API keys and who may do what: kept in `access.keys` as hashes, decided in one place, deny by default.

Owns: what a key is, how it is stored and followed, the one function that says who may do what; public signing keys.
Does not own: how a token arrives (api), what is signed and how (codec, sdk, intake).
"""

from pipeline.access.authorize import Action, Resource, Sight, readable_apps, refusal, sees_costs, sight_of
from pipeline.access.keys import ApiKey, Principal, Scope, new_key
from pipeline.access.ring import KeyRing, KeysNotReadError, UnauthenticatedError

__all__ = [
    "Action",
    "ApiKey",
    "KeyRing",
    "KeysNotReadError",
    "Principal",
    "Resource",
    "Scope",
    "Sight",
    "UnauthenticatedError",
    "new_key",
    "readable_apps",
    "refusal",
    "sees_costs",
    "sight_of",
]
