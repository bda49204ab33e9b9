"""The order in which cloze takes its training examples, in Python.

A line-by-line counterpart of src/base/rng.c, src/base/hash.c and batch_plan_shuffled, so that another
program can be given the same batches: shuffled(1000, seed=42, epoch=0).
"""
M64 = (1 << 64) - 1
M32 = (1 << 32) - 1


def philox(key, c0, c1=0):
    """Philox4x32-10: four 32-bit numbers."""
    k0, k1 = key & M32, key >> 32
    x0, x1, x2, x3 = c0 & M32, c0 >> 32, c1 & M32, c1 >> 32
    for _ in range(10):
        p0, p1 = 0xD2511F53 * x0, 0xCD9E8D57 * x2
        x0, x1, x2, x3 = (p1 >> 32) ^ x1 ^ k0, p1 & M32, (p0 >> 32) ^ x3 ^ k1, p0 & M32
        k0, k1 = (k0 + 0x9E3779B9) & M32, (k1 + 0xBB67AE85) & M32
    return x0, x1, x2, x3


def finalise(z):
    z = (z + 0x9E3779B97F4A7C15) & M64
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & M64
    return z ^ z >> 31


def mix(key, value):
    return finalise(key ^ finalise(value & M64))


def scramble(x):
    x = ((x ^ x >> 32) * 0x9FB21C651E98DF25) & M64
    x = ((x ^ x >> 29) * 0xD6E8FEB86659FD93) & M64
    return x ^ x >> 32


def hash_bytes(data):
    h = 0xD6E8FEB86659FD93 ^ (len(data) * 0x9FB21C651E98DF25 & M64)
    for i in range(0, len(data), 8):
        h = (scramble(h ^ int.from_bytes(data[i:i + 8], "little")) + 0x9FB21C651E98DF25) & M64
    return scramble(h)


def mix_string(key, text):
    return mix(key, hash_bytes(text.encode("utf-8")))


class Stream:
    """rng_u32 and rng_below over a key."""

    def __init__(self, key):
        self.key, self.counter, self.out = key, 0, []

    def u32(self):
        if not self.out:
            self.out = list(philox(self.key, self.counter))
            self.counter += 1
        return self.out.pop(0)

    def below(self, n):
        product = self.u32() * n
        if product & M32 < n:
            threshold = (M32 + 1 - n) % n
            while product & M32 < threshold:
                product = self.u32() * n
        return product >> 32


def shuffled(n, seed, epoch):
    """Indices of n examples in the order of an epoch (from 0)."""
    stream = Stream(mix(mix_string(seed, "data order"), epoch))
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = stream.below(i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def batches(n, batch_size, seed, epoch):
    order = shuffled(n, seed, epoch)
    return [order[i:i + batch_size] for i in range(0, n, batch_size)]


assert philox(0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)  # the paper's test vector
