"""Services that allow so many images per minute, each counting in its own way. They are told the time."""

import math
from collections import deque


class SlidingWindow:
    """No more than the limit in any minute."""

    def __init__(self, limit):
        self.limit = limit
        self.made = deque()
        self.total = 0

    def refused_for(self, images, now):
        """Seconds until it is worth coming back; nothing if the request is carried out."""
        while self.made and self.made[0][0] <= now - 60:
            self.total -= self.made.popleft()[1]
        if self.total + images > self.limit:
            return self.made[0][0] + 60 - now
        self.made.append((now, images))
        self.total += images
        return None


class FixedWindow:
    """No more than the limit in each minute of the clock."""

    def __init__(self, limit):
        self.limit = limit
        self.minute = -1
        self.total = 0

    def refused_for(self, images, now):
        if now // 60 > self.minute:
            self.minute, self.total = now // 60, 0
        if self.total + images > self.limit:
            return (self.minute + 1) * 60 - now
        self.total += images
        return None


class TokenBucket:
    """Tokens that come steadily, of which *saved* may be kept."""

    def __init__(self, limit, saved):
        self.rate = limit / 60
        self.level = self.saved = saved
        self.at = 0.0

    def refused_for(self, images, now):
        self.level = min(self.saved, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < images - 1e-9:
            return (images - self.level) / self.rate
        self.level -= images
        return None


def whole_seconds(wait):
    """As a header has it."""
    return math.ceil(wait)
