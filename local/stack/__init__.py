"""City Fleet on a laptop: environments, the processes of Airflow and of the local SageMaker, the demo."""
