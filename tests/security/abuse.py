"""What one account might try."""

from tests.security.matrix import ZIP

JSON = {"Content-Type": "application/json"}
AS_ZIP = {"Content-Type": ZIP}
NUMBERS = ("1", "9007199254740993", "9223372036854775807", "-1e18", "1e15", "0.1", "5e-324", "1.0")
