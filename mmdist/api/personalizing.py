"""`mmdist.personalize`: photos become a prior of your own."""
