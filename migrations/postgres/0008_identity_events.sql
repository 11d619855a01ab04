-- What the identity server tells of its own accord. The other engine's file of the same name makes the same
-- tables.

-- How many events of a realm were heard, and which was the last that concerned all its users. A verdict knows how many
-- there were when it was asked for.
CREATE TABLE identity_realms (
    realm   TEXT   NOT NULL PRIMARY KEY,
    events  BIGINT NOT NULL,
    flushed BIGINT NOT NULL
);

-- Events that were heard: the same one again changes nothing.
CREATE TABLE identity_events (
    realm TEXT   NOT NULL,
    id    TEXT   NOT NULL,
    heard BIGINT NOT NULL,
    PRIMARY KEY (realm, id)
);
CREATE INDEX identity_events_heard ON identity_events (heard);

-- The number of the last event that concerned the user, and when the identity server last called the user active.
ALTER TABLE users ADD COLUMN last_event BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN revalidated BIGINT;

CREATE INDEX bindings_of_user ON bindings (user_id);
