"""The constants of the protocol, in one place."""

VERSION = 6

MAX_HEADER_BYTES = 64 * 1024
MAX_PARTS = 5  # header, symbols, h of the blocks, side information, reference
MAX_PART_BYTES = 256 * 1024 * 1024  # one part; a 64 Mpixel reference is 192 MB
MAX_MESSAGE_BYTES = 320 * 1024 * 1024  # all parts of one message together
MAX_SYMBOLS = 16 * 1024 * 1024
MAX_SIDE_PX = 65_535
MAX_SIDE_BYTES = 64 * 1024  # side information of a codec
MAX_PICTURE_BYTES = 32 * 1024 * 1024  # one that is returned to tx
MAX_LOST_BYTES = 32 * 1024  # a bit for each packet of a frame
MAX_ROUNDS = 4  # of a codec with feedback
MAX_CLIENTS = 256  # a door
MAX_RUNS = 16  # connections of one name at a door
POWER_TOLERANCE = 0.02  # of mean symbol power 1, on the front side

HIGH_WATER_MARK = 1024
RECONNECT_MS = 50
RECONNECT_MAX_MS = 1000
HANDSHAKE_MS = 5000  # a connection that takes longer to say who it is, is closed
UNANSWERED_S = 5.0  # a connection that nobody accepts or refuses for so long is filtered
HANDSHAKE_PATIENCE_S = 15.0  # a client with keys gives up handshakes that always failed

HEARTBEAT_S = 1.0
SILENCE_S = 6.0  # a peer silent for so long is gone
GRANT_S = 15.0
LEASE_S = 30.0
REQUEST_TIMEOUT_S = 2.0  # tx asks again, doubling up to the maximum
RESULT_TIMEOUT_S = 5.0
MAX_TIMEOUT_S = 20.0
WAIT_S = 2 * MAX_TIMEOUT_S  # a waiting REQUEST that nobody repeats for so long is forgotten
REOFFER_S = 2.0  # rx offers an unconfirmed result again
PICTURES_S = 60.0  # tx waits so long for pictures of a result that come again with its next offer

MAX_FAILURES = 3  # reported by receivers, before a frame is dead
MAX_LOST_RECEIVERS = 20  # lost while holding one frame; 0 = no limit
REMEMBERED_RESULTS = 4096  # unconfirmed results the channel keeps for a returning tx
