"""What the peers record: as many columns as a hand-written audit row has."""

from __future__ import annotations

from django.db import models


class Access(models.Model):
    at = models.DateTimeField(auto_now_add=True)
    path = models.CharField(max_length=200)
    text = models.CharField(max_length=200)
    times = models.IntegerField(null=True)
    outcome = models.CharField(max_length=16)

    class Meta:
        app_label = "peers"

    def __str__(self) -> str:
        return f"{self.path} {self.outcome}"
