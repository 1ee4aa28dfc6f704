"""The commit protocol under faults: the real engine and committer over a store and a bus that are taken one await at
a time, so that a crash, a cut connection or another replica can come between any two."""
