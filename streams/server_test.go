package streams

import "testing"

func TestSchedules(t *testing.T) {
	for version, want := range map[string]bool{
		"2.15.2": true, "2.15.0": true, "2.16.0": true, "2.99.1": true, "3.0.0": true,
		"2.14.3": true, "2.14.4": true, "2.14.2": false, "2.14.0": false,
		"2.13.9": false, "2.13.99": false,
		"2.12.12": true, "2.12.13": true, "2.12.11": false, "2.12.0": false,
		"2.11.99": false, "2.10.0": false, "1.4.1": false, "0.0.0": false,
		"2.14.3-RC.1": true, "2.15.0-preview.2": true,
		"": false, "dev": false, "2": false, "2.15": false, "v2.15.2": false,
	} {
		if got := schedules(version); got != want {
			t.Errorf("schedules(%q) = %v, want %v", version, got, want)
		}
	}
	if js := connect(t, startServer(t)); !Schedules(js.Conn()) {
		t.Errorf("the server of this module, %s, has schedules", js.Conn().ConnectedServerVersion())
	}
}
