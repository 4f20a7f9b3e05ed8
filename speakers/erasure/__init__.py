"""Erases a person, a conversation, or everything older than the policy allows.

An erasure has four steps, each safe to repeat:

1. commit the request and the digests of the forgotten ids and names (`requests`);
2. delete the rows (`deletion`);
3. clean the files (`files`);
4. remove the request.

If a crash interrupts it, the next open continues with the pending request (`eraser`).
"""
