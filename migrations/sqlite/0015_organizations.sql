-- A membership that has ended stays: its budgets are part of what requests were charged to. The keys that spend from the
-- organization are revoked with it.
ALTER TABLE memberships ADD COLUMN ended_at INTEGER;
-- An organization's members, and a person's organizations.
CREATE INDEX memberships_of_organization ON memberships (organization_id, id);
CREATE INDEX memberships_of_person ON memberships (person_id, organization_id);

-- Who has the code of one of these, and a login with its e-mail address, may become a member, once.
CREATE TABLE organization_invitations (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    organization_id BLOB NOT NULL REFERENCES organizations (account_id),
    -- SHA-256 of the code; the code itself is not stored.
    code_hash BLOB NOT NULL UNIQUE CHECK (length(code_hash) = 32),
    email TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner', 'member')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    accepted_at INTEGER,
    accepted_by BLOB REFERENCES persons (account_id),
    revoked_at INTEGER,
    CHECK ((accepted_at IS NULL) = (accepted_by IS NULL))
) STRICT;
CREATE INDEX organization_invitations_open ON organization_invitations (organization_id, id)
WHERE accepted_at IS NULL AND revoked_at IS NULL;
