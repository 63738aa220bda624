"""The HTTP API: events and grants in, quota, statements and reports out; one process, as many as are needed.

Owns: routes, how requests and answers look (OpenAPI 3.1, RFC 9457), limits, and the wait for Kafka's acknowledgement.
Does not own: what an event or a grant is (codec, domain), who may do what (access), what a report says (billing).
"""
