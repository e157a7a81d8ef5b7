"""Where a partner's machine may be: the one place in which its URL is judged."""

from collections.abc import Collection
from urllib.parse import urlsplit

URL_CHARS_MAX = 500


class BadPartnerUrl(ValueError):
    """The URL is not one that a partner's machine may have; the message says what to write."""


def check_partner_url(url: str, allowed_hosts: Collection[str]) -> str:
    """The URL without a slash at its end. `allowed_hosts` are `host` or `host:port` that the operator vouches
    for: they may have plain http. Raises BadPartnerUrl."""
    wanted = "write https://host[:port][/path], such as https://gpu1.example/v1"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadPartnerUrl(f"'{url}' is not an address; {wanted}") from None
    plain = url.isascii() and url.isprintable() and not set(" @?#\\") & set(url)
    if not plain or len(url) > URL_CHARS_MAX or not parts.hostname or port == 0:
        raise BadPartnerUrl(f"'{url}' is not an address; {wanted}")
    vouched = parts.hostname in allowed_hosts or parts.netloc.lower() in allowed_hosts
    if parts.scheme != "https" and not (parts.scheme == "http" and vouched):
        raise BadPartnerUrl(
            f"'{url}' is not https; {wanted}, or list its host under llmdeal.partners.allowed_hosts"
        )
    return url.rstrip("/")
