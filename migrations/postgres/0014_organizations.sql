-- A membership that has ended stays: its budgets are part of what requests were charged to. The keys that spend from the
-- organization are revoked with it, so that servers of the version before, which don't know of the end, refuse them too.
ALTER TABLE memberships ADD COLUMN ended_at timestamptz;
-- An organization's members, and a person's organizations.
CREATE INDEX memberships_of_organization ON memberships (organization_id, id);
CREATE INDEX memberships_of_person ON memberships (person_id, organization_id);

-- Who has the code of one of these, and a login with its e-mail address, may become a member, once.
CREATE TABLE organization_invitations (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (account_id),
    -- SHA-256 of the code; the code itself is not stored.
    code_hash bytea NOT NULL UNIQUE CHECK (octet_length(code_hash) = 32),
    email text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL CHECK (role IN ('owner', 'member')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    accepted_at timestamptz,
    accepted_by uuid REFERENCES persons (account_id),
    revoked_at timestamptz,
    CHECK ((accepted_at IS NULL) = (accepted_by IS NULL))
);
CREATE INDEX organization_invitations_open ON organization_invitations (organization_id, id)
WHERE accepted_at IS NULL AND revoked_at IS NULL;
