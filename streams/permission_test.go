package streams

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// every is the permissions of all roles in all forms, by what they are printed
// with.
func every(t *testing.T, namespace string) map[string]Permissions {
	t.Helper()
	n := testNames(t, namespace)
	all := map[string]Permissions{}
	add := func(name string, role Role, o PermissionOptions) {
		p, err := n.Permissions(role, o)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = p
	}
	for _, role := range Roles() {
		add(string(role), role, PermissionOptions{})
	}
	add("producer --tenant acme", Producer, PermissionOptions{Tenant: "acme"})
	add("worker --ordered", Worker, PermissionOptions{Ordered: true})
	return all
}

const goldenPermissions = "testdata/permissions.golden.json"

// A change of what a role may do shows here, and so in review. That each may do
// what it must is shown by test/e2e.
func TestPermissionsAreGolden(t *testing.T) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(every(t, "")); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(goldenPermissions, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenPermissions)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("the permissions are not %s; if they are meant to be, run go test ./streams -update\n%s", goldenPermissions, firstDifference(b.Bytes(), want))
	}
}

func TestPermissionsFollowTheNamespace(t *testing.T) {
	other := every(t, "acme-7")
	for name, p := range every(t, "") {
		mine := strings.NewReplacer("webhooks", "acme-7", "WEBHOOKS", "ACME-7")
		for i, subject := range slices.Concat(Subjects(p.Publish), Subjects(p.Subscribe), Subjects(p.Deny)) {
			if !server.IsValidSubject(subject) {
				t.Errorf("%s: %s is no subject", name, subject)
			}
			if mine.Replace(subject) == subject && subject != "$JS.API.INFO" { // the account's
				t.Errorf("%s: %s is every namespace's", name, subject)
			}
			all := slices.Concat(Subjects(other[name].Publish), Subjects(other[name].Subscribe), Subjects(other[name].Deny))
			if !slices.Contains(all, mine.Replace(subject)) || len(all) <= i {
				t.Errorf("%s: in namespace acme-7 there is no %s", name, mine.Replace(subject))
			}
		}
	}
}

func TestNoSubjectIsGrantedTwice(t *testing.T) {
	for name, p := range every(t, "") {
		all := Subjects(p.Publish)
		for i, a := range all {
			for j, b := range all {
				if i != j && covers(a, b) {
					t.Errorf("%s: %s is granted with %s", name, b, a)
				}
			}
		}
		for _, g := range append(p.Publish, p.Subscribe...) {
			if !slices.IsSorted(g.Subjects) || g.Purpose == "" || len(g.Subjects) == 0 {
				t.Errorf("%s: %q grants %q", name, g.Purpose, g.Subjects)
			}
		}
	}
}

// Who may listen where another is answered reads what that one asked for.
func TestNoRoleListensWhereAnotherIsAnswered(t *testing.T) {
	var all []Permissions
	for _, namespace := range []string{"", "acme", "producer", "webhooks_worker"} {
		for name, p := range every(t, namespace) {
			if name != "worker --ordered" && name != "producer" { // the one is a worker too, the other one every tenant's producer
				all = append(all, p)
			}
		}
	}
	for i, a := range all {
		if covers("_INBOX.>", a.Inbox+".x") {
			t.Errorf("%s is answered where everybody may listen", a.Inbox)
		}
		for j, b := range all {
			if i != j && covers(Subjects(a.Subscribe)[0], b.Inbox+".x") {
				t.Errorf("%s listens to %s", a.Inbox, b.Inbox)
			}
		}
	}
}

func TestPermissionsThatThereAreNot(t *testing.T) {
	n := testNames(t, "")
	for name, c := range map[string]struct {
		role Role
		o    PermissionOptions
		says string
	}{
		"no such role":           {"admin", PermissionOptions{}, "choose one of producer, worker, reader, operator, provisioner"},
		"none":                   {"", PermissionOptions{}, "choose one of"},
		"a tenant of a reader":   {Reader, PermissionOptions{Tenant: "acme"}, "a tenant is a producer's"},
		"a wildcard for tenant":  {Producer, PermissionOptions{Tenant: "*"}, `tenant "*"`},
		"all tenants":            {Producer, PermissionOptions{Tenant: ">"}, `tenant ">"`},
		"a tenant of two tokens": {Producer, PermissionOptions{Tenant: "a.b"}, "must be 1 to 63"},
		"an ordered operator":    {Operator, PermissionOptions{Ordered: true}, "only a worker"},
	} {
		if _, err := n.Permissions(c.role, c.o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error that says %q", name, err, c.says)
		}
	}
}
