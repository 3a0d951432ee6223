"""A source in its canonical form keeps what its author noted."""

from __future__ import annotations

from mashin_surfaces.machines.formatting import reformat
from mashin_surfaces.machines.parser import parse

WRITTEN = """\
// The shop.
machine shop   "Shop" // one of many
accepts
  // what is bought
  kind as string, min_length: 1   // "short"
  count as number, min: 1, max: 9
ensures
  allowed to shop.price, shop.stock
implements
  ask price using "m:n"
    with task "http://${input.kind}"
  compute total
    // inside of an expression
    let one = 1 // here too

    {total: one}
// the door
expresses
  api path: "/shop" authentication: "bearer_token" // the only one
// the end
"""
CANONICAL = """\
// The shop.
machine shop "Shop"  // one of many
  accepts
    // what is bought
    kind as text, min_length: 1  // "short"
    count as number, range: [1, 9]
  ensures
    permissions
      allowed to
        shop.price
        shop.stock
  implements
    ask price, using: "m:n"
      with task "http://${input.kind}"
    compute total
      // inside of an expression
      let one = 1 // here too

      {total: one}
  // the door
  expresses
    api  // the only one
      path: "/shop"
      auth: jwt, api_key
// the end
"""


def test_the_canonical_form_keeps_comments_where_they_belong() -> None:
    assert reformat(WRITTEN) == CANONICAL


def test_what_is_canonical_stays_as_it_is() -> None:
    assert reformat(CANONICAL) == CANONICAL
    assert parse(CANONICAL).definition == parse(WRITTEN).definition
