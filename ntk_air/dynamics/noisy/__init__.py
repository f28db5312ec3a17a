"""What noisy labels tell without clean ones: noise rate, stopping time, wrong labels."""
