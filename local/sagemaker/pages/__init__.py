"""What a person sees of jobs, logs, model packages and objects in a browser, where AWS has its consoles."""
