"""What more engines bring, in virtual time: the real dispatcher and the real order of jobs, engines that only count."""
