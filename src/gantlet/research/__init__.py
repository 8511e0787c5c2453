"""Studies: experiments with a conclusion. Nothing else imports them."""
