"""The reference project with a strict Content-Security-Policy."""

from project.settings import *  # noqa: F403  the project's settings are these settings
from project.settings import MIDDLEWARE

MIDDLEWARE = ["tests.browser.policy.strict_policy", *MIDDLEWARE]
