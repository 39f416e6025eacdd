"""What strangers send: every member of every route with its worst inputs, and what that costs a real server."""
